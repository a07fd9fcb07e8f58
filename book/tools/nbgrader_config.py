"""How a course of nbgrader makes the students' notebooks of the teacher's (`make solutions` lays it beside them).

`make student` goes the same way, without a gradebook.
"""

from nbconvert.preprocessors import TagRemovePreprocessor
from nbgrader import preprocessors

c = get_config()  # noqa: F821, the loader's

# The solutions' texts are cells of their own. nbgrader refuses them where this step was forgotten.
c.TagRemovePreprocessor.enabled = True
c.TagRemovePreprocessor.remove_cell_tags = {"solution"}
c.ClearSolutions.code_stub = {"python": ""}  # the stub stands above the solution
c.GenerateAssignment.preprocessors = [
    TagRemovePreprocessor,
    preprocessors.LockCells,
    preprocessors.ClearSolutions,
    preprocessors.ClearOutput,
    preprocessors.CheckCellMetadata,
    preprocessors.ComputeChecksums,
    preprocessors.SaveCells,
    preprocessors.ClearHiddenTests,
    preprocessors.ComputeChecksums,
    preprocessors.CheckCellMetadata,
]

# A chapter's cells train, so that they may take longer than nbgrader's half a minute.
c.Execute.timeout = 600
