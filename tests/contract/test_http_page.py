"""The page at `/` over a real socket: its files, how browsers keep them, and that nothing comes from elsewhere."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
import pytest_asyncio

from service.edges.http.page import TYPES
from tests.contract.http_kit import Kit, gated

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFERENCE = re.compile(r"""(?:src|href)="(page/[^"]+)"|from "\./([^"]+)"|`(page/samples/)\$\{name\}\.jpg`""")
NAMESPACE = "http://www.w3.org/2000/svg"
"""A name that looks like an address; nobody fetches it."""


def names(folder: str = "") -> list[str]:
    """Every file of the page, as the package has it."""
    found = []
    for entry in files("service").joinpath("page", folder).iterdir():
        name = f"{folder}/{entry.name}".lstrip("/")
        found += names(name) if entry.is_dir() else [name]
    return sorted(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kit() -> AsyncIterator[Kit]:
    """Any server has the page."""
    async with gated() as serving:
        yield serving


async def got(kit: Kit, path: str, **headers: str) -> httpx.Response:
    """One file."""
    return await kit.client.get(path, headers=headers)


async def test_the_root_is_the_page(kit: Kit) -> None:
    """HTML, not a way to somewhere else."""
    page = await got(kit, "/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")


@pytest.mark.parametrize("name", names())
async def test_every_file_is_served_with_its_type(kit: Kit, name: str) -> None:
    """Whatever the system thinks of its ending; browsers are told not to guess."""
    response = await got(kit, f"/page/{name}")
    assert response.status_code == 200
    assert response.content == files("service").joinpath("page", name).read_bytes()
    assert response.headers["content-type"] == TYPES[f".{name.rpartition('.')[2]}"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_what_the_page_refers_to_is_there(kit: Kit) -> None:
    """Styles, scripts, and the scripts that scripts load; and nothing is there that nobody refers to."""
    reached, ahead = {"index.html"}, ["index.html"]
    while ahead:
        text = (await got(kit, f"/page/{ahead.pop()}")).text
        for match in REFERENCE.finditer(text):
            name = (match[1] or "").removeprefix("page/") or match[2] or ""
            if name and name not in reached:
                reached.add(name)
                ahead += [name] if name.endswith(".js") else []
    assert reached == {name for name in names() if not name.startswith("samples/")}


async def test_the_samples_are_those_that_the_page_offers(kit: Kit) -> None:
    """By name."""
    (listed,) = re.findall(r"SAMPLES = \[([^\]]+)\]", (await got(kit, "/page/photo.js")).text)
    offered = re.findall(r'"(\w+)"', listed)
    assert sorted(f"samples/{name}.jpg" for name in offered) == [n for n in names() if n.startswith("samples/")]


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in names() if not name.startswith("samples/"))])
async def test_nothing_comes_from_elsewhere(kit: Kit, path: str) -> None:
    """Every answer has the policy, and no file names another host."""
    response = await got(kit, path)
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert {source for sources in policy.values() for source in sources.split()} == {
        "'none'", "'self'", "blob:", "'script'",
    }  # fmt: skip
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert not re.search(r"(?:https?:)?//[\w.-]+\.\w", response.text.replace(NAMESPACE, ""))
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_no_script_or_style_stands_within_the_page(kit: Kit) -> None:
    """The policy would keep them from working."""
    page = (await got(kit, "/")).text
    assert not re.search(r"<style|<script(?![^>]* src=)|\son\w+=|\sstyle=|javascript:", page)


@pytest.mark.parametrize("path", ["/", "/page/main.js"])
async def test_a_file_that_the_browser_has_is_not_sent_again(kit: Kit, path: str) -> None:
    """It asks each time; the tag is a hash of the content."""
    first = await got(kit, path)
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await got(kit, path, **{"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert (await got(kit, path, **{"If-None-Match": '"other"'})).status_code == 200


async def test_tags_differ_with_the_content(kit: Kit) -> None:
    """No two files share one."""
    tags = [(await got(kit, f"/page/{name}")).headers["etag"] for name in names()]
    assert len(set(tags)) == len(tags)


async def test_a_head_request_gets_the_headers_alone(kit: Kit) -> None:
    """With the length that a GET would have."""
    head, whole = await kit.client.head("/"), await got(kit, "/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))


@pytest.mark.parametrize(
    "path", ["/page/", "/page/nothing.js", "/page/%2e%2e/app.py", "/page/samples", "/page/../app.py"]
)
async def test_what_is_no_file_of_the_page_is_not_found(kit: Kit, path: str) -> None:
    """A problem, as everywhere; no path leads out of the folder."""
    response = await got(kit, path)
    assert (response.status_code, response.json()["kind"]) == (404, "not-found")


async def test_the_page_is_no_part_of_the_api(kit: Kit) -> None:
    """Its document does not list it; another method does not apply."""
    paths = (await got(kit, "/openapi.json")).json()["paths"]
    assert not {path for path in paths if path == "/" or path.startswith("/page")}
    assert (await kit.client.post("/")).status_code == 405


async def test_what_a_network_knows_can_be_asked(kit: Kit) -> None:
    """The labels in the order of its outputs."""
    known = (await got(kit, "/variants/b2/labels")).json()
    assert (known["variant"], [one["index"] for one in known["labels"]]) == ("b2", list(range(len(known["labels"]))))
    assert {"index", "wnid", "label"} == set(known["labels"][7])
    missing = await got(kit, "/variants/b9/labels")
    assert (missing.status_code, missing.json()["kind"]) == (404, "unknown-variant")
