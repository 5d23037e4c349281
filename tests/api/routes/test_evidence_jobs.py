"""Evidence over HTTP: the command line's bytes, and jobs that outlive the service and the chain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import problems
from api.evidence_jobs import EvidenceJobs
from api.lanes import PARTY, lanes_of
from api.routes.evidence import jobs_router
from ledger.errors import UnknownRecord
from ledger.evidence.bundle import read_bundle
from ledger.evidence.verify import Verdict, verify
from ledger.investigation import collect_model_evidence
from ledger.licensing import terms as license_terms

pytestmark = pytest.mark.chain
JOBS = "/v1/evidence/jobs"
HASH = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def deposited(service: Any, published: Any) -> Any:
    model = f"/v1/models/{published.model}"
    documents = {"manifest": published.manifest, "claim": published.claim.to_json()}
    assert service.client.post(f"{model}/documents", json=documents).is_success
    assert service.client.post(f"{model}/leaves", json=published.fingerprint.to_json()).is_success
    return published


def own(published: Any) -> dict[str, Any]:
    """A request that brings its documents along."""
    return {
        "model": str(published.model),
        "claim": published.claim.to_json(),
        "manifest": published.manifest,
        "fingerprint": published.fingerprint.to_json(),
    }


def asked(service: Any, **request: Any) -> dict[str, Any]:
    reply = service.client.post(JOBS, json=request)
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"{JOBS}/{reply.json()['job']}"
    return dict(reply.json())


def ended(service: Any, job: str) -> dict[str, Any]:
    for _ in range(6):
        reply = service.get(f"{JOBS}/{job}", wait=20)
        if reply["state"] in {"done", "failed"}:
            return dict(reply)
    raise AssertionError(reply)


def same(deployed: Any, published: Any, dest: Path, headers: Any, **options: Any) -> bytes:
    """What the command line's library call gives for the same block, clock and actor."""
    clock = datetime.strptime(headers["deed-clock"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return collect_model_evidence(
        deployed.network,
        published.claim,
        published.manifest,
        published.fingerprint,
        dest=dest,
        as_of=int(headers["deed-as-of"]),
        now=clock,
        actor="modeldeed service",
        **options,
    ).read_bytes()


def test_a_model_and_a_license_come_as_the_command_line_gives_them(
    service, deposited, deployed, tmp_path
):
    reply = service.client.get(f"/v1/evidence/models/{deposited.model}")
    assert reply.is_success, reply.text
    assert reply.content == same(deployed, deposited, tmp_path / "a.zip", reply.headers)
    reply = service.client.get(f"/v1/evidence/licenses/{deposited.license}")
    assert reply.is_success, reply.text
    only = {"licenses": (deposited.license,), "one": True}
    assert reply.content == same(deployed, deposited, tmp_path / "b.zip", reply.headers, **only)
    path = tmp_path / "got.zip"
    path.write_bytes(reply.content)
    assert read_bundle(path).subject.kind == "license"
    assert verify(path).verdict is Verdict.CONDITIONAL


def run(folder: Path, *words: object) -> str:
    """The real command line, in a folder of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DEED_")}
    ran = subprocess.run(
        [Path(sys.executable).with_name("deed"), *map(str, words)],
        cwd=folder,
        env=kept | {"DEED_CONFIG_DIR": str(folder / "config"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_real_command_line_gives_the_bytes_of_a_job(service, deposited, deployed, tmp_path):
    """What `deed publish` leaves in a folder, and a job with the same documents."""
    terms = dict(license_terms.parse(license_terms.TEMPLATE.encode()).document)
    job = asked(service, model=str(deposited.model), terms=[terms], license=str(deposited.license))
    done = ended(service, job["job"])
    assert done["state"] == "done", done
    folder = tmp_path / "published"
    folder.mkdir()
    documents = {
        "claim": deposited.claim.to_json(),
        "manifest": deposited.manifest,
        "fingerprint": deposited.fingerprint.to_json(),
        "terms": terms,
        "journal": {"inputs": {}, "steps": {"register": {"model_id": str(deposited.model)}}},
    }
    for name, document in documents.items():
        (folder / f"{name}.json").write_text(json.dumps(document))
    deployed.deployment.save(tmp_path / "deployment.json")
    url = deployed.network.rpc_urls[0]
    run(tmp_path, "network", "add", "here", "--rpc", url, "--deployment", "deployment.json")
    # The service makes no printed forms; a command line that makes them is told not to.
    plain = ["--no-print"] if "--no-print" in run(tmp_path, "evidence", "collect", "-h") else []
    out = run(
        tmp_path, "evidence", "collect", deposited.model, *plain, "--from", folder,
        "--out", "it.zip",
        "--license", deposited.license, "--as-of", done["as_of"], "--clock", done["clock"],
        "--actor", "modeldeed service", "--network", "here",
    )  # fmt: skip
    assert "names final" in out
    assert (tmp_path / "it.zip").read_bytes() == service.client.get(done["bundle"]).content


def test_an_earlier_final_block_may_be_named_and_a_later_one_not(
    service, deposited, deployed, tmp_path
):
    deployed.rpc.call("anvil_mine", [hex(4)])
    head = deployed.rpc.block("latest").number
    at = deployed.rpc.block("finalized").number - 1
    path = f"/v1/evidence/models/{deposited.model}"
    reply = service.client.get(path, params={"as_of": at})
    assert reply.headers["deed-as-of"] == str(at)
    assert reply.content == same(deployed, deposited, tmp_path / "a.zip", reply.headers)
    # By name or day too, as everywhere; the index says which block that is.
    service.caught_up(deployed.rpc)
    named = service.client.get(path, params={"as_of": "finalized"})
    shown = service.get("/v1/models", as_of="finalized")["as_of"]
    assert int(named.headers["deed-as-of"]) <= shown["block"]
    job = ended(service, asked(service, model=str(deposited.model), as_of="finalized")["job"])
    assert int(named.headers["deed-as-of"]) <= job["as_of"]
    old = service.client.get(path, params={"as_of": "2000-01-01"})
    assert (old.status_code, old.json()["code"]) == (404, "UNKNOWN_RECORD")
    young = service.client.get(path, params={"as_of": "latest"})
    assert (young.status_code, young.json()["code"]) == (409, "PENDING_FINALITY")
    late = service.client.get(path, params={"as_of": head + 100})
    assert (late.status_code, late.json()["code"]) == (422, "USAGE_ERROR")


def test_a_job_tells_its_steps_and_gives_the_same_bytes(service, deposited, deployed, tmp_path):
    job = asked(service, model=str(deposited.model))
    done = ended(service, job["job"])
    assert done["state"] == "done", done
    assert "finding the finalized block" in done["steps"]
    assert done["expires_at"] > done["asked_at"]
    reply = service.client.get(done["bundle"])
    assert (len(reply.content), reply.headers["deed-bundle"]) == (done["bytes"], done["id"])
    assert reply.content == same(deployed, deposited, tmp_path / "a.zip", reply.headers)
    part = service.client.get(done["bundle"], headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"PK\x03\x04")


def test_while_many_wait_for_news_a_poll_is_answered_at_once_with_what_is_known(tmp_path):
    gate = threading.Event()

    def collect(_request: Any, _dest: Any, _progress: Any) -> dict[str, Any]:
        gate.wait(30)
        raise UnknownRecord("it was a test")

    jobs = EvidenceJobs(tmp_path / "jobs", collect, keep=3600, disk=1 << 20)
    number, _ = jobs.ask({"note": "x"}, {"kind": "model", "model": HASH})
    app = FastAPI()
    app.state.evidence_jobs = jobs
    app.include_router(jobs_router)
    problems.install(app)

    async def go() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            path = f"{JOBS}/{number}"
            PARTY.set("10.0.0.0/24")
            waiting = [asyncio.create_task(client.get(path, params={"wait": 25})) for _ in range(2)]
            lane = lanes_of(app.state).jobs
            while lane.has_place():  # noqa: ASYNC110  the lane tells nobody
                await asyncio.sleep(0.01)
            for wait in (25, 0):
                # Were it to wait, it would for its whole time: nothing works on the job.
                reply = await asyncio.wait_for(client.get(path, params={"wait": wait}), 20)
                assert (reply.status_code, reply.json()["state"]) == (200, "queued")
            assert not any(each.done() for each in waiting)
            # Another network's poll waits on, and hears of the end.
            PARTY.set("10.9.0.0/24")
            other = asyncio.create_task(client.get(path, params={"wait": 25}))
            stop = threading.Event()
            worker = threading.Thread(target=jobs.run, args=(stop,))
            worker.start()
            gate.set()
            for reply in await asyncio.gather(*waiting, other):
                assert (reply.status_code, reply.json()["state"]) == (200, "failed")
            stop.set()
            worker.join(20)

    asyncio.run(go())
    jobs.close()


def test_equal_requests_are_one_piece_of_work_with_a_number_each(service, deposited):
    request = {"model": str(deposited.model), "note": "the same"}
    first, second = asked(service, **request), asked(service, **request)
    assert first["job"] != second["job"]
    assert ended(service, first["job"])["id"] == ended(service, second["job"])["id"]
    assert service.client.delete(f"{JOBS}/{first['job']}").status_code == 204
    assert service.client.get(f"{JOBS}/{first['job']}").status_code == 404
    assert service.client.get(f"{JOBS}/{second['job']}/bundle").is_success
    other = asked(service, **{**request, "note": "another"})
    assert ended(service, other["job"])["id"] != ended(service, second["job"])["id"]


def test_a_claim_that_comes_with_a_request_stays_with_it(service, make, deployed, tmp_path):
    published = make.publish(deployed, tmp_path)
    service.caught_up(deployed.rpc)
    deployed.rpc.call("anvil_mine", [hex(4)])
    assert ended(service, asked(service, model=str(published.model))["job"])["state"] == "failed"
    done = ended(service, asked(service, **own(published))["job"])
    assert done["state"] == "done", done
    assert ended(service, asked(service, model=str(published.model))["job"])["state"] == "failed"
    assert service.client.get(f"/v1/evidence/models/{published.model}").status_code == 404
    folder = Path(service.environment["DEED_API_DATABASE_URL"] + ".evidence")
    salt = str(published.claim.salt)
    assert not any(salt in path.read_text() for path in folder.glob("*.json"))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({}, 422),
        ({"model": "0x12"}, 422),
        ({"model": "0x" + "5a" * 32}, 404),
        ({"license": "77.1"}, 404),
        ({"license": "nonsense"}, 422),
        ({"release": {"type": "something"}}, 422),
        ({"model": "0x" + "5a" * 32, "colour": "red"}, 422),
    ],
)
def test_what_is_not_there_or_not_meant_is_refused_at_once(service, deposited, request_, status):
    reply = service.client.post(JOBS, json=request_)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["hint"]


def test_wrong_numbers_and_mixed_up_claims_are_told(service, deposited, make, deployed, tmp_path):
    nobody = "0" * 32
    for path in (f"{JOBS}/{nobody}", f"{JOBS}/{nobody}/bundle"):
        assert service.client.get(path).json()["code"] == "UNKNOWN_RECORD"
    assert service.client.delete(f"{JOBS}/{nobody}").status_code == 404
    assert service.client.get(f"{JOBS}/short").status_code == 422
    other = {**own(deposited), "claim": {**deposited.claim.to_json(), "salt": "0x" + "11" * 32}}
    failed = ended(service, asked(service, **other)["job"])
    assert failed["error"]["code"] == "CLAIM_MISMATCH"
    reply = service.client.get(f"{JOBS}/{failed['job']}/bundle")
    assert (reply.status_code, reply.json()["code"]) == (409, "CLAIM_MISMATCH")


def test_a_service_killed_in_the_middle_goes_on_after_its_next_start(
    make, published, deployed, tmp_path
):
    service = make.service(tmp_path / "killed", deployed.network).start()
    try:
        service.caught_up(deployed.rpc)
        numbers = [asked(service, **own(published), note=f"number {n}")["job"] for n in range(3)]
        os.kill(service.process.pid, signal.SIGKILL)
        service.process.wait(20)
        service.start()
        for number in numbers:
            done = ended(service, number)
            assert done["state"] == "done", done
            path = tmp_path / "got.zip"
            path.write_bytes(service.client.get(done["bundle"]).content)
            assert verify(path).verdict is Verdict.CONDITIONAL
    finally:
        service.stop()


def test_without_the_chain_a_bundle_made_before_is_still_given(make, published, deployed, tmp_path):
    """The endpoint is gone for this service: as a stopped chain looks from here."""
    folder = tmp_path / "lasting"
    service = make.service(folder, deployed.network).start()
    try:
        service.caught_up(deployed.rpc)
        number = asked(service, **own(published))["job"]
        assert ended(service, number)["state"] == "done"
        before = service.client.get(f"{JOBS}/{number}/bundle").content
        service.process.terminate()
        service.process.wait(20)
        service.environment["DEED_API_RPC_URLS"] = "http://127.0.0.1:9"
        service.start()
        assert service.client.get(f"{JOBS}/{number}/bundle").content == before
        failed = ended(service, asked(service, **own(published), note="now")["job"])
        assert failed["error"]["code"] == "CHAIN_UNAVAILABLE"
    finally:
        service.stop()


def test_jobs_end_with_their_time_and_the_oldest_make_room(make, published, deployed, tmp_path):
    service = make.service(
        tmp_path / "short",
        deployed.network,
        DEED_API_EVIDENCE_KEEP="6",
        DEED_API_EVIDENCE_DISK="150000",
    ).start()
    try:
        service.caught_up(deployed.rpc)
        numbers = []
        for n in range(3):
            numbers.append(asked(service, **own(published), note=f"number {n}")["job"])
            assert ended(service, numbers[-1])["state"] == "done"
        assert service.client.get(f"{JOBS}/{numbers[0]}").status_code == 404
        assert service.client.get(f"{JOBS}/{numbers[2]}").is_success
        service.until(
            lambda: service.client.get(f"{JOBS}/{numbers[2]}").status_code == 404, seconds=15
        )
        assert not list((tmp_path / "short" / "index.db.evidence").glob("*.zip"))
    finally:
        service.stop()
