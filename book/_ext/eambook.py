"""What this book asks of Sphinx beyond Jupyter Book.

1. A notebook is executed again when the library, the versions or the device change, not only when
   its own code does.
2. In the chapters' portable Markdown, a plain link to a paper becomes a citation as well.
3. The figure on the cover of the PDF is drawn by the library that it shows.
4. What a code cell says of slides (book/tools/slides.py) is no part of a page, nor of its key in the cache.
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
from importlib.metadata import version
from pathlib import Path

import nbformat
import torch
from myst_nb.sphinx_ import NbMetadataCollector
from pybtex.database import parse_file
from sphinx.util.logging import getLogger

from eamlib import records

# Whatever a chapter imports: another version may print another number.
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "accelerate",
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
    app.connect("config-inited", describe_build)
    app.connect("config-inited", address_pages)
    app.connect("config-inited", draw_lineage)
    app.connect("config-inited", read_references)
    app.connect("source-read", add_citations)
    app.connect("source-read", leave_slides_out)
    app.connect("html-page-context", drop_widget_state, priority=400)  # before myst-nb, which writes it
    app.connect("html-page-context", mend_page)  # after sphinxext.opengraph
    app.connect("build-finished", write_report)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


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

    digest = hashlib.sha256(json.dumps(app.build_facts).encode())
    read = [path for folder in ("eamlib", "results") for path in Path(app.srcdir, folder).rglob("*")]
    for source in sorted(path for path in read if path.is_file() and "__pycache__" not in path.parts):
        digest.update(source.relative_to(app.srcdir).as_posix().encode() + source.read_bytes())

    # jupyter-cache looks at code cells alone; a folder for each digest makes it miss when the rest has
    # changed. The folder being one of Sphinx's settings, all pages are then read again, too.
    cache = Path(app.outdir).parent / "executed" / digest.hexdigest()[:16]
    config.nb_execution_cache_path = str(cache)
    for outdated in set(cache.parent.glob("*")) - {cache}:
        shutil.rmtree(outdated)
    if cache.exists() and (why := damage(cache)):
        getLogger(__name__).info("%s cannot be read (%s) and is removed: the notebooks run again.", cache, why)
        shutil.rmtree(cache)
        Path(app.doctreedir, "environment.pickle").unlink(missing_ok=True)  # or their pages would not be read


def damage(cache):
    """What is wrong with what a build left in the cache, if anything: a full disk or a lost one leaves half a file."""
    database, costs = cache / "global.db", cache / "network_costs.json"
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


def draw_lineage(app, config):
    """Draw the figure of the PDF's cover, once for each state of the library."""
    drawn = Path(config.nb_execution_cache_path, "lineage.png")
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


def leave_slides_out(app, docname, source):
    """Drop the slides' metadata from code cells: jupyter-cache would execute a notebook again for their sake."""
    if app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = without_slides(source[0])


def without_slides(text):
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["metadata"].pop("slideshow", None)
    return json.dumps(notebook)


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
