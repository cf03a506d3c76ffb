"""What a third party may import: these names, from these modules, and nothing else.

They follow semantic versioning: what goes is deprecated first, by `pdiff.deprecation`, for two minor versions.
First-party plugins import nothing else either, which a test holds them to.
"""

from __future__ import annotations

PUBLIC: dict[str, tuple[str, ...]] = {
    "pdiff": ("UserError", "hookimpl", "open_run", "prepare", "run"),
    "pdiff.api": ("Run", "open_run"),
    "pdiff.bench": ("Bench",),
    "pdiff.checkpoints.names": ("in_names", "is_counter", "listed", "natural", "whole"),
    "pdiff.checkpoints.opening": ("ENDINGS", "weights_in"),
    "pdiff.checkpoints.reading": ("Reader", "load_state"),
    "pdiff.cli.options": (
        "Out", "Overrides", "Overwrite", "Plugins", "RunName", "RunOverrides", "Sampling", "overrides", "sampling",
        "use_plugins",
    ),
    "pdiff.cli.text": ("console", "print_lines", "print_table", "starting"),
    "pdiff.components": (
        "CONTENT", "IF_SET", "KINDS", "NEVER", "PARTS", "Ahead", "Architecture", "Codec", "Collector",
        "Component", "Dataset", "Denoiser", "Encoder", "Engine", "Evaluator", "Family", "Figure", "Finding",
        "Generator", "Job", "Launcher", "Method", "NoSuchComponent", "Page", "Readout", "ReadsCheckpoints",
        "Report", "Rival", "Selector", "Table", "Task", "Tracker", "Train", "Transform", "WeightReader",
        "identity", "merge", "plain",
    ),
    "pdiff.context": ("Context", "derive"),
    "pdiff.data": (
        "About", "Batch", "Chosen", "DatasetSplits", "Inputs", "Split", "TensorSplit", "arguments", "each",
        "evaluation_batches", "evaluation_size", "holdout", "leaves", "require_finite", "some",
    ),
    "pdiff.engine.plan": ("Plan",),
    "pdiff.engine.preflight": ("ready",),
    "pdiff.engine.sharing": ("share",),
    "pdiff.ensembles": ("Ensemble",),
    "pdiff.errors": ("Faults", "Lacking", "UserError", "did_you_mean", "naming", "short"),
    "pdiff.exporting.ensemble": ("average", "uncertainty"),
    "pdiff.files": (
        "PRETRAINED", "below", "digest_of", "folder_below", "load_tensors", "make_folder", "read_json", "save_tensors",
        "sha256_of", "write_bytes", "write_json", "write_text",
    ),
    "pdiff.hookspecs": (),
    "pdiff.mapped": (
        "COLUMNS", "LARGE", "Touched", "finite_rows", "mean_of", "release", "rows", "sync", "take", "windows",
    ),
    "pdiff.members": ("answering", "temperatures"),
    "pdiff.networks": ("build_network", "entry_of", "handed", "load_into", "load_weights", "once"),
    "pdiff.objective": ("Objective",),
    "pdiff.plugins.discovery": ("registry",),
    "pdiff.plugins.files": ("DIGEST", "check_kept", "find_file", "kept", "load_file", "told_at"),
    "pdiff.plugins.listing": ("check_kind",),
    "pdiff.recipe.loading": ("find_recipe", "load_recipe", "parse_override"),
    "pdiff.recipe.tables": ("Recipe",),
    "pdiff.results.export": ("check_new", "new_files", "write_networks"),
    "pdiff.results.mirror": ("fetched",),
    "pdiff.results.runs": ("SCORES",),
    "pdiff.results.scores": (
        "Key", "RunScores", "Spread", "TaskScore", "Unit", "compared", "given_by", "keys", "nothing", "scored",
        "unit_of",
    ),
    "pdiff.results.shown": ("Showing", "Shows"),
    "pdiff.results.summary": (
        "SCORE", "cell", "expected", "headline", "notes", "ours_for", "sources", "spread", "table",
    ),
    "pdiff.running.device": ("placed", "sent", "steady_attention"),
    "pdiff.running.locks": ("LEASE", "USES", "Lost", "held", "locked"),
    "pdiff.running.memory": ("free_bytes", "in_chunks", "ran_out"),
    "pdiff.running.progress": ("Progress", "Step", "progress_for"),
    "pdiff.running.remote": ("is_address", "local"),
    "pdiff.running.ranks": ("by_rows", "exchange", "here", "leader_first", "own_rows", "world"),
    "pdiff.running.snapshot": ("Snapshot",),
    "pdiff.running.store": ("ABOUT", "DAMAGED", "Stage", "Store"),
    "pdiff.services": ("Absent", "Through"),
    "pdiff.steps": ("in_turn", "listed", "steps_on"),
    "pdiff.testing": (
        "Points", "TinyData", "TinyMethod", "TinyNet", "TinyTask", "bench_of", "check_component", "check_definition",
        "tiny_run", "tiny_splits", "tiny_zoo",
    ),
    "pdiff.training.capture": ("Step", "captured"),
    "pdiff.training.loop": (
        "Diverged", "Observer", "ahead", "enough_for_batch_norm", "epoch_length", "epoch_order", "threads_for", "train",
    ),
    "pdiff.training.optimizers": ("SCHEDULES", "optimizer_for"),
    "pdiff.view": ("ORIGINAL", "Setup", "View"),
    "pdiff.way": ("Chooser", "OneAtATime", "Predicts", "Way"),
    "pdiff.zoo": ("SMALLEST_VARIANCE", "Entry", "Layout", "Zoo", "about"),
}  # fmt: skip
"""Module -> its public names; the hooks in `pdiff.hookspecs` are public too, by implementing them."""
