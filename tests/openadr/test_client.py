"""The client at servers that do not answer as they should, and over TLS."""

import asyncio
import contextlib
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from powerd.clock import SystemClock
from powerd.errors import ConfigError
from powerd.openadr.app import new_session
from powerd.openadr.client import VtnClient
from powerd.openadr.errors import VtnError
from powerd.openadr.options import VtnOptions
from powerd.openadr.web import check_url
from tests.authority import authority
from tests.openadr.make import program
from tests.openadr.rig import Start
from tests.openadr.vtn import CLIENT, SECRET, Vtn
from tests.signals.stubs import tcp_server, until
from tests.signals.test_tls import tls_broker

TOKEN = {"access_token": "t", "token_type": "Bearer"}


@contextlib.asynccontextmanager
async def client(url: str, **options: str) -> AsyncIterator[VtnClient]:
    chosen = VtnOptions(url, CLIENT, SECRET, "ven-hel1", timeout_s=10.0, **options)  # type: ignore[arg-type]
    async with new_session(chosen) as session:
        yield VtnClient(chosen, session, SystemClock(), lambda _: None)


@contextlib.asynccontextmanager
async def answering(*bodies: bytes, status: str = "200 OK") -> AsyncIterator[str]:
    """Serve these answers one after the other, whatever is asked, and give the URL."""
    left = list(bodies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            body = left.pop(0) if left else b""
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()

    async with tcp_server(answer) as url:
        yield url.replace("mqtt://", "http://")


async def problem(*bodies: bytes, status: str = "200 OK", token: object = TOKEN) -> str:
    """Return what the client says of a server that answers so when it is asked for events."""
    async with (
        answering(json.dumps(token).encode(), *bodies, status=status) as url,
        client(url, token_url=f"{url}/token") as vtn,
    ):
        with pytest.raises(VtnError) as caught:
            await vtn.objects("/events")
        return str(caught.value)


def texts(*files: str) -> list[str]:
    return [Path(file).read_text(encoding="utf-8") for file in files]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"<html>Welcome</html>", "the answer is not JSON"),
        (b"", "the answer is no list of objects"),
        (b"{}", "the answer is no list of objects"),
        (b"[1]", "the answer is no list of objects"),
        (b"\xff\xfe[\x00", "the answer is not JSON"),
        (b"[" * 100_000, "the answer is not JSON: nested too deeply"),
        (b" " * (17 * 2**20), "the answer has more than"),
    ],
)
async def test_an_answer_that_is_no_list_is_an_error_and_never_an_empty_list(body: bytes, text: str) -> None:
    """An empty list would mean that every event is gone."""
    assert text in await problem(body)


@pytest.mark.parametrize(
    "token", [{}, {"access_token": ""}, {"access_token": 3}, {"access_token": "a\nb"}, [], "token"]
)
async def test_an_answer_without_a_token_is_an_error(token: object) -> None:
    assert "the answer holds no access_token" in await problem(token=token)


async def test_what_a_server_says_of_an_error_is_passed_on_without_what_terminals_act_on() -> None:
    told = json.dumps({"title": "no\u001b[31m", "detail": "x" * 999}).encode()
    async with (
        answering(told, status="400 Bad Request") as url,
        client(url, token_url=f"{url}/token") as vtn,
    ):
        with pytest.raises(VtnError) as caught:
            await vtn.token()
    assert "400 Bad Request (no\N{REPLACEMENT CHARACTER}[31m, xxx" in str(caught.value)
    assert len(str(caught.value)) < 250


async def test_a_redirect_is_not_followed_since_the_token_is_meant_for_one_server(start: Start) -> None:
    async with start() as site:
        site.vtn.failures = [302]
        async with client(site.vtn.url) as vtn:
            with pytest.raises(VtnError, match="302"):
                await vtn.objects("/events")
        assert not site.vtn.asked["/elsewhere"]


async def test_a_token_url_in_plain_text_elsewhere_gets_no_secret() -> None:
    said = json.dumps({"tokenURL": "http://tokens.example/token"}).encode()
    async with answering(said) as url, client(url) as vtn:
        with pytest.raises(VtnError, match="is not encrypted and leads to another machine"):
            await vtn.token()


@pytest.mark.parametrize(
    "url", ["", "vtn.example", "ftp://vtn.example", "https://", "https://me:pw@vtn.example"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"vtn\.url should look like"):
        check_url("vtn.url", url, allow_plaintext=True)


async def test_a_vtn_is_reached_over_tls_if_its_authority_is_known_and_not_otherwise(tmp_path: Path) -> None:
    ours = authority(tmp_path / "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*ours.issue("localhost"))
    async with Vtn(time.time, context) as server:
        server.programs["44"] = program()
        async with client(server.url, ca_file=ours.ca_file) as vtn:
            assert [each["id"] for each in await vtn.objects("/programs")] == ["44"]
        async with client(server.url) as vtn:
            with pytest.raises(VtnError, match="certificate verify failed"):
                await vtn.objects("/programs")


async def test_the_vtns_broker_is_reached_with_the_certificate_that_the_vtn_gives(
    start: Start, tmp_path: Path
) -> None:
    ours = authority(tmp_path / "ca")
    ca, certificate, key = texts(ours.ca_file, *ours.issue("ven"))
    proof = {"method": "CERTIFICATE", "caCert": ca, "clientCert": certificate, "clientKey": key}
    with tls_broker(tmp_path / "theirs", ours, name="localhost", client_certificate=True) as theirs:
        async with start(use_notifier=True) as site:
            site.vtn.notifier = {"URIS": [theirs.url], "serialization": "JSON", "authentication": proof}
            site.vtn.topics = {"UPDATE": "update", "DELETE": "delete", "ALL": "+"}
            async with site.bridge():
                await until(lambda: "vtn_notifier_connected" in site.events())
