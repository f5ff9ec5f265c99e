"""Files that a configuration names (`on_disk`): told at the key that names them."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.config.issuing import issue
from wsrelay.config import load

Told = Callable[[str], list[str]]
TLS = """
[[route]]
path = "/"
respond = {}
[[listen]]
address = "0.0.0.0:443"
tls = [
  { chain = "tls/fullchain.pem", key = "tls/privkey.pem" },
"""


def test_a_good_certificate_is_taken_with_absolute_paths(pems: Path, loaded: Callable[[str], load.Loaded]) -> None:
    found = loaded(TLS + "]\n")
    assert found.warnings == ()
    (certificate,) = found.settings.listeners[0].tls
    assert (certificate.chain, certificate.key) == (pems / "fullchain.pem", pems / "privkey.pem")


def test_what_is_wrong_with_files_is_told_at_their_keys(pems: Path, mistakes: Told) -> None:
    text = (
        TLS
        + '  { chain = "no.pem", key = "tls/fullchain.pem" },\n  { chain = "tls/fullchain.pem", key = "k.pem" },\n]\n'
    )
    Path("k.pem").write_bytes(issue("x").key_pem)
    folder = pems.parent
    assert mistakes(text) == [
        f"site.toml:9:13: listen[0].tls[1].chain: {folder}/no.pem: cannot read: No such file or directory",
        f"site.toml:9:29: listen[0].tls[1].key: {folder}/tls/fullchain.pem: expected a private key in PEM"
        " (-----BEGIN PRIVATE KEY-----)",
        f"site.toml:10:40: listen[0].tls[2].key: {folder}/k.pem: the key belongs to no certificate in"
        f" {folder}/tls/fullchain.pem, whose first is for example.com",
    ]


def test_a_bad_certificate_beside_an_incomplete_table_is_told_too(site: Path, mistakes: Told) -> None:
    told = mistakes(TLS + '  { chain = "x.pem" },\n]\n')
    assert [line.split(": ")[1] for line in told] == [
        "listen[0].tls[0].chain",
        "listen[0].tls[0].key",
        "listen[0].tls[1].key",
    ]


def test_a_leaf_alone_is_a_warning(pems: Path, loaded: Callable[[str], load.Loaded]) -> None:
    leaf = issue("a.test", issue("CA"), names=("a.test",))
    (pems / "fullchain.pem").write_bytes(leaf.pem)
    (pems / "privkey.pem").write_bytes(leaf.key_pem)
    (warning,) = loaded(TLS + "]\n").warnings
    assert str(warning).startswith("site.toml:8:13: listen[0].tls[0].chain: the certificate for a.test stands alone")
    assert "证书链不完整" in warning.text


def test_a_certificate_that_is_never_chosen_is_a_warning(pems: Path, loaded: Callable[[str], load.Loaded]) -> None:
    for name, key in (("same", None), ("rsa", rsa.generate_private_key(65537, 2048))):
        own = issue("example.com", names=("example.com",), key=key)
        (pems / f"{name}.pem").write_bytes(own.pem + own.key_pem)
    lines = "".join(f'  {{ chain = "tls/{name}.pem", key = "tls/{name}.pem" }},\n' for name in ("rsa", "same"))
    assert [str(warning) for warning in loaded(f"{TLS}{lines}]\n").warnings] == [
        "site.toml:10:3: listen[0].tls[2]: never chosen: certificates before it have the same names and ecdsa keys too"
    ]


SITE = '[[listen]]\naddress = "127.0.0.1:80"\n[[route]]\npath = "/"\nrespond = {}\n[relay]\naccess_log = '


@pytest.mark.parametrize(
    ("target", "told"),
    [("no/a.log", "there is no folder {}/no"), ("logs", "expected a file, found the folder {}/logs")],
)
def test_an_access_log_that_cannot_be_written_is_told(site: Path, mistakes: Told, target: str, told: str) -> None:
    Path("logs").mkdir()
    # `logs` alone is no word of the list, and near to none of them.
    assert mistakes(f'{SITE}"{target}"\n') == [f"site.toml:7:14: relay.access_log: {told.format(site)}"]


@pytest.mark.parametrize(
    ("said", "target"), [("off", "off"), ("journal", "journal"), ("a.log", "{}/a.log"), ("/dev/null", "/dev/null")]
)
def test_an_access_log_is_a_word_or_an_absolute_path(
    site: Path, loaded: Callable[[str], load.Loaded], said: str, target: str
) -> None:
    assert loaded(f'{SITE}"{said}"\n').settings.access_log.target == target.format(site)


def test_a_socket_path_must_fit_once_its_folder_is_known(site: Path, mistakes: Told) -> None:
    name = "x" * 107  # fits by itself
    text = f'[[listen]]\naddress = "unix:{name}"\n[[route]]\npath = "/"\nupstream = "u"\n'
    text += f'[[upstream]]\nname = "u"\nservers = ["a:1", "unix:{name}"]\n'
    told = mistakes(text)
    assert [line.partition(", found")[0] for line in told] == [
        "site.toml:2:11: listen[0].address: expected a socket path of at most 107 bytes (unix(7))",
        "site.toml:8:19: upstream[0].servers[1]: expected a socket path of at most 107 bytes (unix(7))",
    ]


UPSTREAM_CA = '[[upstream]]\nname = "u"\nservers = ["a:1"]\ntls = { ca = "FILE" }\n'


@pytest.mark.parametrize(
    ("lines", "path"), [('client_ca = "FILE"\n', "listen[0].client_ca"), (UPSTREAM_CA, "upstream[0].tls.ca")]
)
def test_authorities_are_read_and_their_faults_told_at_their_key(pems: Path, lines: str, path: str) -> None:
    site = pems.parent
    text = f"{TLS}]\n{lines}"
    for file, told in (
        ("no.pem", "cannot read: No such file or directory"),
        ("tls/privkey.pem", "expected "),
        ("site.toml", "expected a certificate in PEM"),
    ):
        (site / "site.toml").write_text(text.replace("FILE", file))
        with pytest.raises(load.ConfigError) as error:
            load.read(Path("site.toml"))
        (mistake,) = error.value.mistakes
        assert mistake.path == path
        assert mistake.text.startswith(f"{site}/{file}: {told}")


@pytest.mark.parametrize(
    ("lines", "path"), [('client_ca = "FILE"\n', "listen[0].client_ca"), (UPSTREAM_CA, "upstream[0].tls.ca")]
)
def test_an_authority_whose_time_is_over_is_a_warning(
    pems: Path, loaded: Callable[[str], load.Loaded], lines: str, path: str
) -> None:
    (pems / "old.pem").write_bytes(issue("Old", since=datetime(2020, 1, 1, tzinfo=UTC)).pem)
    found = loaded(f"{TLS}]\n{lines.replace('FILE', 'tls/old.pem')}").warnings
    assert [(each.path, each.text[:21]) for each in found if each.path != "upstream[0].name"] == [
        (path, "EXPIRED on 2020-03-31")
    ]


UPSTREAM = """[[listen]]
address = "a:1"
[[route]]
path = "/"
upstream = "u"
[[upstream]]
name = "u"
servers = ["u:1"]
"""


def test_a_certificate_for_an_upstream_is_checked_as_one_of_a_client(
    pems: Path, mistakes: Told, loaded: Callable[[str], load.Loaded]
) -> None:
    folder = pems.parent
    text = UPSTREAM + 'tls = {{ chain = "{}", key = "{}" }}\n'
    assert mistakes(text.format("tls/client.pem", "tls/privkey.pem")) == [
        f"site.toml:9:41: upstream[0].tls.key: {folder}/tls/privkey.pem: the key belongs to no certificate in"
        f" {folder}/tls/client.pem, whose first is for relay.test"
    ]
    assert mistakes(text.format("no.pem", "tls/client.key")) == [
        f"site.toml:9:17: upstream[0].tls.chain: {folder}/no.pem: cannot read: No such file or directory"
    ]
    # No name, and no intermediate: only servers need those.
    (folder / "me.pem").write_bytes((me := issue("me", issue("CA"))).pem + me.key_pem)
    assert loaded(text.format("me.pem", "me.pem")).warnings == ()
    (folder / "old.pem").write_bytes((old := issue("me", since=datetime(2020, 1, 1, tzinfo=UTC))).pem + old.key_pem)
    (warning,) = loaded(text.format("old.pem", "old.pem")).warnings
    assert str(warning).startswith("site.toml:9:17: upstream[0].tls.chain: EXPIRED on 2020-03-31: ")


def test_half_a_certificate_is_told_without_reading_it(site: Path, mistakes: Told) -> None:
    assert mistakes(UPSTREAM + 'tls = { chain = "no.pem" }\n') == [
        "site.toml:9:9: upstream[0].tls.chain: only with key: a certificate takes both"
    ]
