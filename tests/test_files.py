"""Fetching and unpacking: whole or not at all. What is written is tested with the checkpoints and records."""

import errno
import gc
import hashlib
import stat
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from eamlib import _files as files

CONTENT = b"what was published\n" * 1000
KNOWN = hashlib.sha256(CONTENT).hexdigest()
# pooch leaves it to the garbage collector to close a connection that broke.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
def address(monkeypatch):
    """A server that answers by the path: /whole, /other, /broken (the connection ends early) or 404."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            answers = {"/whole": CONTENT, "/other": CONTENT[::-1], "/broken": CONTENT[:-5]}
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(CONTENT) if self.path in answers else 0))
            self.end_headers()
            self.wfile.write(answers.get(self.path, b""))
            asked.append(self.path)

        def log_message(self, *_):
            pass

    asked = []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
    gc.collect()


@pytest.mark.parametrize("known", [KNOWN, f"md5:{hashlib.md5(CONTENT).hexdigest()}"])
def test_a_file_is_fetched_once(address, known, tmp_path):
    url, asked = address
    path = tmp_path / "some" / "folder" / "file"
    for _ in range(2):
        files.fetch(f"{url}/whole", known, path)
        assert path.read_bytes() == CONTENT
    assert asked == ["/whole"] and [*path.parent.iterdir()] == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "a data folder is shared"


def test_a_damaged_file_is_fetched_again(address, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT[:100])
    files.fetch(f"{address[0]}/whole", KNOWN, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("before", [None, b"older"])
@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("other", "does not match the known hash"),
        ("broken", "Connection broken|IncompleteRead"),
        ("missing", "404 Client Error"),
    ],
)
def test_a_failure_names_the_address_and_leaves_nothing(address, tmp_path, page, reason, before):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)
    with pytest.raises(
        FileNotFoundError, match=f"could not be fetched from {address[0]}/{page}: .*({reason})"
    ) as found:
        files.fetch(f"{address[0]}/{page}", KNOWN, path)
    assert str(found.value).startswith(f"{path} is missing or damaged")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([before] if before else [])


def test_without_a_server_the_address_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="could not be fetched from http://127.0.0.1:9/file: .*refused"):
        files.fetch("http://127.0.0.1:9/file", KNOWN, tmp_path / "file")
    assert not any(tmp_path.iterdir())


def test_what_may_not_be_fetched_is_not(address, tmp_path):
    path = tmp_path / "folder" / "file"
    with pytest.raises(FileNotFoundError, match="file is missing or damaged .*: download = False"):
        files.fetch(f"{address[0]}/whole", KNOWN, path, download=False)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.write_bytes(CONTENT[:100])
    with pytest.raises(FileNotFoundError, match="download = False"):
        files.fetch(f"{address[0]}/whole", KNOWN, path, download=False)
    path.write_bytes(CONTENT)
    files.fetch(f"{address[0]}/whole", KNOWN, path, download=False)
    assert not address[1]


def test_a_folder_that_cannot_be_is_named(address, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path}/taken/file is missing"):
        files.fetch(f"{address[0]}/whole", KNOWN, tmp_path / "taken" / "file")
    assert (tmp_path / "taken").read_text() == "a file" and not address[1]


def test_who_interrupts_leaves_nothing(address, tmp_path, monkeypatch):
    def interrupted(self, *_, **__):
        yield CONTENT[:100]
        self.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("requests.models.Response.iter_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.fetch(f"{address[0]}/whole", KNOWN, tmp_path / "file")
    assert not any(tmp_path.iterdir())


@pytest.fixture
def archive(tmp_path):
    pytest.importorskip("torchvision")
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in "first", "second":
            file.writestr(f"images/{name}", name)
    return path


def test_an_archive_is_unpacked(archive, tmp_path):
    for _ in range(2):  # the second time as if another process had been first
        files.unpack(archive, "images")
        assert {path.name: path.read_text() for path in (tmp_path / "images").iterdir()} == {
            "first": "first",
            "second": "second",
        }
    assert {path.name for path in tmp_path.iterdir()} == {"images", "images.zip"}


def test_of_a_folder_that_is_unpacked_half_nothing_stays(archive, tmp_path, monkeypatch):
    def full(self, *_, **__):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(True)
        return extract(self, *_, **__)

    written, extract = [], zipfile.ZipFile._extract_member
    monkeypatch.setattr(zipfile.ZipFile, "_extract_member", full)
    with pytest.raises(OSError, match="No space left"):
        files.unpack(archive, "images")
    assert written and [*tmp_path.iterdir()] == [archive]
