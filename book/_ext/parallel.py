"""Several notebooks at a time: `make book JOBS=2` executes what the cache lacks before the pages are read one by one.

It saves minutes where nobody reads the times that chapters measure, as in the tests. Pages that are to be read are
built with one job, the default: their notebooks have the machine to themselves.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.errors import ExtensionError


def setup(app):
    app.connect("config-inited", execute, priority=600)  # after eambook, which says what is to run
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def execute(app, config):
    """Execute the notebooks of ``app.notebooks_to_run`` and put what succeeds into the cache."""
    said = os.environ.get("JOBS", "1")
    if not said.isdecimal() or int(said) < 1:
        raise ExtensionError(f"JOBS = {said!r} is no number of notebooks. Allowed: integers from 1.")
    if (jobs := int(said)) == 1:
        return

    def run(path):
        notebook, timeout = app.notebooks_to_run[path], config.nb_execution_timeout
        return path, single_nb_execution(notebook, str(path.parent), timeout, allow_errors=False)

    cache = get_cache(config.nb_execution_cache_path)
    with ThreadPoolExecutor(jobs) as workers:
        for path, result in workers.map(run, app.notebooks_to_run):
            if result.err is None:  # one that failed is left to its page, which runs it again and says what is wrong
                bundle = CacheBundleIn(result.nb, str(path), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
