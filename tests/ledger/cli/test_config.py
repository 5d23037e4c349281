from __future__ import annotations


def test_every_value_says_where_it_comes_from(deed):
    (deed.cwd / "deed.toml").write_text('network = "a"\nwallet = "w"\n')
    deed.env["DEED_NETWORK"] = "b"
    found = deed("config", "--json").json
    assert found["settings"]["network"] == {
        "value": "b",
        "source": "DEED_NETWORK",
        "environment": "DEED_NETWORK",
    }
    assert found["settings"]["wallet"]["source"] == str(deed.cwd / "deed.toml")
    assert found["settings"]["role"] == {
        "value": None,
        "source": "default",
        "environment": "DEED_ROLE",
    }


def test_a_database_password_is_not_shown(deed):
    deed.env["DEED_DATABASE"] = "postgresql+psycopg://deed:hunter2@db.example/index"
    ran = deed("config")
    assert "hunter2" not in ran.out
    assert "db.example" in ran.out


def test_the_passphrase_itself_is_not_shown(deed, passphrase):
    ran = deed("config")
    assert passphrase not in ran.out
    assert "DEED_WALLET_PASSWORD_FILE" in ran.out
