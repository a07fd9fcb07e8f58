"""What this book asks of Sphinx beyond Jupyter Book.

1. A notebook is executed again when the versions, the device or what it uses (uses.py) change, not only when
   its own code does. One line says which are, and why.
2. In the chapters' portable Markdown, a plain link to a paper becomes a citation as well.
3. The figure on the cover of the PDF is drawn by the library that it shows.
4. What a code cell says of slides (book/tools/slides.py) is no part of a page, nor of its key in the cache.
   Their kernels are asked for an encrypted connection: without it every one of them warns of eavesdroppers.
5. The state of widgets, which are dead without a kernel and named anew in every build, is left out.
6. What ran, when and with what is written down in `execution.json`; the status page tells it (status.py).
7. The pages know where they are published, which follows from the repository's address.
8. What a page is about begins behind its link to Colab, and a bibliography is a list to a screen reader, too.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import nbclient
import nbformat
import torch
import uses
from jupyter_cache import get_cache
from jupyter_cache.executors import utils
from myst_nb.sphinx_ import NbMetadataCollector
from pybtex.database import parse_file
from sphinx.util.logging import getLogger
from traitlets.config import Config

from eamlib.papers import records

# Whatever a chapter imports: another version may print another number.
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "fvcore",
    "ipywidgets",
    "jupyterquiz",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pooch",
    "safetensors",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "seaborn",
    "tqdm",
)


def setup(app):
    app.add_config_value("book_state", "", "env")  # where it is another one, all pages are read again
    silence_kernels()
    app.connect("config-inited", describe_build)
    app.connect("config-inited", say_what_runs)
    app.connect("config-inited", address_pages)
    app.connect("config-inited", draw_lineage)
    app.connect("config-inited", read_references)
    app.connect("source-read", add_citations)
    app.connect("source-read", add_uses)
    app.connect("html-page-context", drop_widget_state, priority=400)  # before myst-nb, which writes it
    app.connect("html-page-context", mend_page)  # after sphinxext.opengraph
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def silence_kernels():
    """Encrypt what is said to kernels, since neither jupyter-cache nor myst-nb hands a configuration on to them."""
    utils.executenb = partial(nbclient.execute, config=Config(KernelManager={"transport_encryption": "auto"}))


def describe_build(app, config):
    """Collect what the notebooks' results depend on, and cache them under its digest."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores"
    app.build_facts = {
        "budget": os.environ.get("EAMLIB_BUDGET", "unset"),
        "device": device,
        "python": platform.python_version(),
    } | {package: version(package) for package in PACKAGES}
    # Said, but not part of the digest: no result depends on the commit alone.
    app.build_source = {"commit": records.provenance("cpu")["commit"] or "unknown"}

    # jupyter-cache looks at code cells alone, of which the first says what the page uses; a folder for each
    # digest makes it miss when the rest has changed.
    digest = hashlib.sha256(json.dumps(app.build_facts).encode())
    cache = Path(app.outdir).parent / "executed" / digest.hexdigest()[:16]
    config.nb_execution_cache_path = str(cache)

    # Prose and tables may depend on all of the library, so that reading them is not made to depend on parts of it.
    read = [path for folder in ("eamlib", "results") for path in Path(app.srcdir, folder).rglob("*")]
    for source in sorted(path for path in read if path.is_file() and "__pycache__" not in path.parts):
        if source.suffix != ".md":
            digest.update(source.relative_to(app.srcdir).as_posix().encode() + source.read_bytes())
    made = Path(app.outdir).parent / "made" / digest.hexdigest()[:16]
    config.book_state = str(made)

    for outdated in {*cache.parent.glob("*"), *made.parent.glob("*")} - {cache, made}:
        shutil.rmtree(outdated)
    if why := damage(cache, made):
        getLogger(__name__).info("%s cannot be read (%s) and is removed: the notebooks run again.", cache, why)
        for damaged in cache, made:
            shutil.rmtree(damaged, ignore_errors=True)
        Path(app.doctreedir, "environment.pickle").unlink(missing_ok=True)  # or their pages would not be read


def damage(cache, made):
    """What is wrong with what a build left there, if anything: a full disk or a lost one leaves half a file."""
    database, costs = cache / "global.db", made / "network_costs.json"
    try:
        if costs.exists():
            json.loads(costs.read_text(encoding="utf-8"))
        if not database.exists():  # no notebook has run yet
            return None
        with closing(sqlite3.connect(database)) as records:
            [[found]] = records.execute("PRAGMA integrity_check(1)")
            for [key] in records.execute("SELECT hashkey FROM nbcache"):
                nbformat.read(cache / "executed" / key / "base.ipynb", nbformat.NO_CONVERT)
    except Exception as error:  # whatever it is, what is there is of no use
        return f"{type(error).__name__}: {error}"
    return None if found == "ok" else found


def say_what_runs(app, config):
    """Say which notebooks are executed, and why; what the cache has of them besides is of no use any more."""
    cache = get_cache(config.nb_execution_cache_path)
    records, reasons, valid = cache.list_cache_records(), {}, set()
    notebooks = sorted(Path(app.srcdir, "notebooks").glob("*.ipynb"))
    for path in notebooks:
        notebook = nbformat.reads(uses.as_run(path.read_text(encoding="utf-8"), Path(app.srcdir)), as_version=4)
        try:
            valid.add(cache.match_cache_notebook(notebook).pk)
        except KeyError:
            before = [cache.get_cache_bundle(record.pk).nb for record in records if record.uri == str(path)]
            reasons.setdefault(why_again(notebook, before[-1] if before else None), []).append(path.stem)
    for record in records:
        if record.pk not in valid:
            cache.remove_cache(record.pk)
    said = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in reasons.items())
    number = sum(map(len, reasons.values()))
    getLogger(__name__).info("%d of %d notebooks run%s.", number, len(notebooks), f": {said}" if said else "")


def why_again(notebook, before):
    """Why a notebook is executed, by what it was when it last was."""
    if before is None:
        return "not yet run with these versions, this device and this budget"
    now, then = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (notebook, before))
    if [cell.source for cell in now] != [cell.source for cell in then]:
        return "its code changed"
    now, then = (cells[0].metadata.get(uses.KEY, {}) for cells in (now, then))
    changed = sorted(file for file in now.keys() | then.keys() if now.get(file) != then.get(file))
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"changed: {', '.join(changed[:3])}{more}" if changed else "its cells' metadata changed"


def draw_lineage(app, config):
    """Draw the figure of the PDF's cover, once for each state of the library."""
    drawn = Path(config.book_state, "lineage.png")
    if not drawn.exists():
        import matplotlib

        matplotlib.use("Agg")
        from eamlib import plots

        plots.style()
        drawn.parent.mkdir(parents=True, exist_ok=True)
        aside = drawn.with_suffix(".half.png")  # killed here, the next build draws it anew
        plots.lineage().savefig(aside)
        aside.replace(drawn)
    shutil.copy(drawn, Path(app.outdir).parent / "lineage.png")


def read_references(app, config):
    """Know each reference by its address."""
    app.reference_keys = {
        entry.fields["url"]: key
        for file in config.bibtex_bibfiles
        for key, entry in parse_file(Path(app.srcdir, file), "bibtex").entries.items()
        if "url" in entry.fields
    }


def add_citations(app, docname, source):
    """Add a citation after each link to a reference, in a notebook's Markdown cells."""
    if not app.env.doc2path(docname).endswith(".ipynb"):
        return
    for dependency in *app.config.bibtex_bibfiles, __file__:
        app.env.note_dependency(dependency)

    def cite(link):
        key = app.reference_keys.get(link["url"])
        return f"{link[0]} {{cite:p}}`{key}`" if key else link[0]

    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"(?<!!)\[[^\]]+\]\((?P<url>[^)\s]+)\)", cite, "".join(cell["source"]))
    source[0] = json.dumps(notebook)


def add_uses(app, docname, source):
    """Have jupyter-cache execute a notebook again for what it uses, and not for its slides' sake."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = uses.as_run(source[0], Path(app.srcdir))


def drop_widget_state(app, docname, template, context, doctree):
    """Keep the state of widgets out of a page that cannot bring them to life."""
    NbMetadataCollector.get_js_files(app.env, docname).pop("ipywidgets_state", None)


def address_pages(app, config):
    """Where GitHub Pages serves a repository.

    Links that name a page to search engines and to messengers have to say it, and so have those of the page 404, which
    is shown at any depth.
    """
    owner, name = config.html_theme_options["repository_url"].rstrip("/").split("/")[-2:]
    config.html_baseurl = config.ogp_site_url = f"https://{owner}.github.io/{name}/"
    config.notfound_urls_prefix = f"/{name}/"


def mend_page(app, docname, template, context, doctree):
    """Leave the link to Colab out of a chapter's description, and docutils' deprecated role out of a bibliography.

    An entry's `doc-biblioentry` is allowed in no list any more; the list stays one.
    """
    context["metatags"] = context.get("metatags", "").replace("▶ Open in Colab ", "")
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def write_report(app, exception):
    """Write what ran to `execution.json`, beside the pages."""
    if exception:
        return
    report = (
        app.build_facts
        | app.build_source
        | {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "notebooks": {
                docname: {key: data["exec_data"][key] for key in ("succeeded", "runtime", "method", "mtime")}
                for docname, data in sorted(NbMetadataCollector.get_doc_data(app.env).items())
                if "exec_data" in data
            },
        }
    )
    Path(app.outdir, "execution.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
