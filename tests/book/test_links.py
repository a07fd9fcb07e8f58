"""External addresses, without a network: `make links` asks them. What leads from page to page is in test_book."""

import json
import re
from urllib.parse import urlsplit

import pytest
import yaml
from conftest import ADDRESS, NOTEBOOKS, ROOT
from pybtex.database import parse_file
from test_project import repository_files

REFERENCES = {entry.fields["url"] for entry in parse_file(ROOT / "book" / "references.bib").entries.values()}
WRITTEN = {".bib", ".c", ".cff", ".css", ".ipynb", ".js", ".md", ".py", ".toml", ".txt", ".yml"}
# What a chapter may link to that is no work to be cited: licences, photographers, documentation, a vendor's data sheet.
NO_WORKS = ("creativecommons.org", "onnxruntime.ai", "www.flickr.com", "huggingface.co", "www.nvidia.com")
IGNORED = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]["linkcheck_ignore"]


def addresses(text: str) -> list[str]:
    """What a reader would take for an address, without the punctuation behind it."""
    return [found.rstrip(".,:;*\\") for found in re.findall(r"https?://[^\s<>()\[\]{}\"'`|]+", text)]


EXTERNAL = {
    (path.relative_to(ROOT).as_posix(), address)
    for path in repository_files()
    if path.suffix in WRITTEN and not {"tests", "results"} & set(path.relative_to(ROOT).parts)
    for address in addresses(path.read_text(encoding="utf-8"))
    if "\\" not in address  # a pattern of addresses
}
CITED = sorted(
    {
        (path.stem, address)
        for path in NOTEBOOKS
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "markdown"
        for address in addresses("".join(cell["source"]))
        if not address.startswith(ADDRESS)
    }
)


def test_there_are_addresses_to_look_at():
    assert len({address for _, address in EXTERNAL}) > 60
    assert len(CITED) > 100


@pytest.mark.parametrize(("file", "address"), sorted(EXTERNAL))
def test_address_is_well_formed(file, address):
    # A name for an XML vocabulary is no address, though it looks like one.
    assert urlsplit(address).scheme == "https" or address == "http://www.w3.org/2000/svg"
    url = urlsplit(address)
    assert re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", url.hostname), "no host"
    assert url.port is None and url.username is None
    assert re.fullmatch(r"[\w.~/%+,=&#-]*", address.partition(url.hostname)[2].replace("?", "")), "a strange character"
    if url.hostname == "arxiv.org":
        assert re.fullmatch(r"/abs/\d{4}\.\d{4,5}", url.path), "not the abstract, or of one version"
    if url.hostname == "doi.org":
        assert re.fullmatch(r"/(10\.\d{4,9}/\S*)?", url.path)


@pytest.mark.parametrize(("chapter", "address"), CITED)
def test_what_a_chapter_links_to_is_a_reference(chapter, address):
    owner, name = ADDRESS.split("/")[-2:]
    places = f"https://colab.research.google.com/github/{owner}/{name}", f"https://{owner}.github.io/{name}"
    ours = address.startswith(places)
    assert ours or address in REFERENCES or urlsplit(address).hostname in NO_WORKS


def test_links_leaves_out_this_repository_and_few_references():
    assert any(re.match(pattern, ADDRESS) for pattern in IGNORED)
    left_out = [address for address in REFERENCES if any(re.match(pattern, address) for pattern in IGNORED)]
    assert len(left_out) < len(REFERENCES) / 5
    idle = [
        pattern
        for pattern in IGNORED
        if not any(re.match(pattern, address) for address in REFERENCES | {address for _, address in CITED} | {ADDRESS})
    ]
    assert not idle
