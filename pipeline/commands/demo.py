"""`smalltowers demo`: the whole way once, on simulated logs, without a server of its own left behind."""

from pipeline.commands.rank import print_ranking
from pipeline.commands.run import run_job
from pipeline.commands.simulate import is_simulated, read_truth, simulate_logs
from pipeline.terminal import framework_noise_to


def run_demo(config, user=None):
    """Simulates logs unless they are there, runs the job, serves its model on a free port and asks it once.

    Args:
        config: `pipeline.config.Config` with `data.simulator`.
        user: id of the user to rank for; None for the first one of the user table.

    Returns:
        Exit code of the run.
    """
    if not is_simulated(config):
        simulate_logs(config)
    exit_code = run_job(config, on_evaluation=lambda console, evaluation: _print_distance(console, config, evaluation))
    if exit_code == 0:
        _serve_and_rank(config, user)
    return exit_code


def _print_distance(console, config, evaluation):
    """How much of the way from guessing to the best possible ranking of clicks the model has come."""
    best_by_day = read_truth(config)["best_auc"]["from_day"]
    best = best_by_day.get(str(config.data.split.eval_from), {}).get("click")
    reached = evaluation.task("click").measures["auc"].value
    if best is None or reached is None:
        console.print("The evaluation days hold too little for a best possible AUC")
        return
    console.print(
        f"Click AUC {reached:.4f}; the best that any model could reach on this feed is {best:.4f}: "
        f"{(reached - 0.5) / (best - 0.5):.0%} of the way from 0.5",
        highlight=False,
        soft_wrap=True,
    )


def _serve_and_rank(config, user):
    with framework_noise_to(config.root / "logs" / "demo.log") as console:
        with console.status("Starting the model server ..."):
            from serving.features.tables import FeatureTables
            from serving.model_server.server import ModelServer
            from serving.ranker.client import Ranker

            tables = FeatureTables.load(str(config.features_folder))
            server = ModelServer(config.serving.model_copy(update={"port": 0}), str(config.models_folder))
            port = server.start()
        try:
            with Ranker(config.serving.model_copy(update={"port": port}), tables) as ranker:
                user = user or tables.user_ids[0]
                ranking = ranker.rank(user)
        finally:
            server.stop()
        console.print()
        print_ranking(console, user, ranking, top=10)
