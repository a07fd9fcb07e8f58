"""Several notebooks at a time: `make book JOBS=2` executes what the cache lacks before the pages are read one by one.

It saves minutes where nobody reads the times that chapters measure, as in the tests. Pages that are to be read are
built with one job, the default: their notebooks have the machine to themselves.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import uses
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.errors import ExtensionError


def setup(app):
    app.connect("config-inited", execute_ahead, priority=600)  # after eambook, which names the cache
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def execute_ahead(app, config):
    said = os.environ.get("JOBS", "1")
    if not said.isdecimal() or int(said) < 1:
        raise ExtensionError(f"JOBS = {said!r} is no number of notebooks. Allowed: integers from 1.")
    if (jobs := int(said)) == 1:
        return
    cache = get_cache(config.nb_execution_cache_path)
    root = Path(app.srcdir)
    notebooks = {path: read(path, root) for path in sorted(root.glob("notebooks/*.ipynb"))}
    waiting = [path for path, notebook in notebooks.items() if not is_cached(cache, notebook)]
    with ThreadPoolExecutor(jobs) as workers:
        results = workers.map(lambda path: execute(path, notebooks[path], config), waiting)
        for path, result in zip(waiting, results, strict=True):
            if result.err is None:  # one that failed is left to its page, which runs it again and says what is wrong
                bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def read(path, root):
    return nbformat.reads(uses.as_run(path.read_text(encoding="utf-8"), root), as_version=4)


def is_cached(cache, notebook):
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def execute(path, notebook, config):
    return single_nb_execution(notebook, str(path.parent), config.nb_execution_timeout, allow_errors=False)
