"""Pictures of what a trial renders, kept beside its study where optuna-dashboard finds them."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.exceptions import UpdateFinishedTrialError

from autoflow.preview import HEADINGS, pair_rows
from autoflow.search.bench import Bench
from autoflow.search.entry import Entry
from autoflow.search.trial import FAILURES
from autoflow.sheet import Picture, sheet
from autoflow.space import Value
from autoflow.stream import stream
from selfflow.frames import fit_size
from selfflow.io import write_image
from selfflow.runs.config import replace_values

FOLDER = "artifacts"
SIDE = 96  # of a picture, px; four pairs then take a tenth of a training step's time on a CPU


def keep_pictures(entry: Entry, bench: Bench, path: Path) -> None:
    """Render some pairs of a running trial's set as one sheet, and note it in the study.

    A trial that goes on has its sheet already. A set that cannot be rendered gets none; why is
    said by the trial itself, which cannot be run either.

    Args:
        entry: of the trial in its study.
        bench: of the search; `trial.pictures` says how many pairs, 0 leaves the sheet out.
        path: the run folder, in which the sheets lie under `artifacts/`.
    """
    storage, trial = entry.study._storage, entry.frozen()
    if not bench.settings.trial.pictures or get_all_artifact_meta(trial, storage=storage):
        return
    with suppress(UpdateFinishedTrialError, *FAILURES), TemporaryDirectory() as temporary:
        file = Path(temporary) / "scenes.jpg"
        write_image(file, _sheet(entry.trial.parameters, bench))
        folder = path / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        upload_artifact(
            artifact_store=FileSystemArtifactStore(base_path=str(folder)),
            file_path=str(file),
            study_or_trial=trial,
            storage=storage,
        )


def _sheet(parameters: Mapping[str, Value], bench: Bench) -> Picture:
    settings = bench.settings
    height, width = fit_size(*settings.training.optimisation.crop, SIDE)
    scenes = stream(
        replace_values(bench.start, parameters),
        seed=settings.seed,
        size=(height, width),
        batch_size=settings.trial.pictures,
        device=bench.device,
        photographs=bench.photographs,
        augment=False,
    )
    return sheet(pair_rows(scenes.batch_at(0)), headings=HEADINGS, least_width=width)
