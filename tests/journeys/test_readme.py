"""The commands that README shows work as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ledger

from .conftest import runner, small_model

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "contracts").glob("*.md")]


def shell_lines() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    block = next(b for b in blocks if "deed publish" in b)
    lines = [line.split("   #")[0].split("  #")[0].strip() for line in block.splitlines()]
    return [line for line in lines if line.startswith("deed ")]


@pytest.mark.parametrize("place", ["here", pytest.param("elsewhere", marks=pytest.mark.deep)])
def test_every_command_of_the_quick_tour_works_in_order(stack, work, tmp_path, monkeypatch, place):
    deed = runner(work)
    folder = work if place == "here" else tmp_path
    model = small_model(folder / "MODEL.safetensors", seed=55 if place == "here" else 56)
    said = {} if place == "here" else {"MODEL.safetensors": str(model)}
    for line in shell_lines():
        words = [said.get(word, word) for word in line.split()[1:]]
        words = [w.replace('"', "") for w in words]
        if words[0] == "license" and words[1] == "revoke":
            monkeypatch.setenv("DEED_RUNTIME_KEY", str(work / "runtime.json"))
            with ledger.load(work / "card.license.json") as model:
                assert model.get_tensor("mlp.bias").shape == (128,)
        done = deed(*words, "--json")
        assert done.code == 0, (line, done.err)
        if words[0] == "publish":
            said |= {"MODEL_ID": done.json["model_id"], "PLAN": str(done.json["plan"])}
        if words[:2] == ["license", "issue"]:
            said["LICENSE"] = done.json["license"]
        if words[:2] == ["evidence", "collect"]:
            said["BLOCK_HASH"] = done.json["state"]["hash"]
    assert {"MODEL_ID", "PLAN", "LICENSE", "BLOCK_HASH"} <= set(said)


def test_the_python_of_the_readme_names_what_exists():
    assert callable(ledger.load)
    assert "ledger.load(" in README.read_text()


@pytest.mark.parametrize("target", ["demo", "test", "up"])
def test_the_make_targets_of_the_readme_exist(target):
    makefile = (README.parent / "Makefile").read_text()
    assert f"\n{target}:" in makefile


def links(page: Path) -> list[str]:
    found = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    return [link for link in found if "://" not in link]


def test_the_links_of_every_page_lead_to_a_file():
    dead = [(str(p.relative_to(ROOT)), li) for p in PAGES for li in links(p)
            if not (p.parent / li).exists()]  # fmt: skip
    assert dead == []


def test_every_guide_is_found_from_the_readme():
    guides = {f"docs/guides/{page.name}" for page in (ROOT / "docs" / "guides").glob("*.md")}
    assert guides - set(links(README)) == set()
