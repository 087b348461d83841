"""A made-up comparison of three policies in some cells, as the benchmark would write it."""

from service.simulation.study import (
    Cell,
    CellResult,
    Course,
    Estimate,
    Facts,
    Goal,
    Miss,
    PolicyResult,
    Series,
    Setting,
    Study,
)


def estimate(value: float) -> Estimate:
    """With an interval of a point to each side."""
    return Estimate(value, value - 0.01, value + 0.01)


def result(policy: str, attained: float, effective: float, k1: tuple[float, float] = (0.0, 0.0)) -> PolicyResult:
    """`k1`: attainment and effective accuracy of K1 less this one's."""
    return PolicyResult(
        policy=policy,
        ours=policy == "k1",
        parameters={"variant": "b0"} if policy == "static" else {},
        attainment=estimate(attained),
        accuracy=effective / attained if attained else None,
        effective=estimate(effective),
        of_bound=effective / 0.82,
        k1_attainment=estimate(k1[0]),
        k1_effective=estimate(k1[1]),
        variants={"b0": 0.7, "b7": 0.3},
        late=1 - attained,
        rejected=0.0,
        terminated=0.02,
        wasted=0.01,
        decision_us_p50=40.0,
        decision_us_p99=200.0,
    )


def cell(
    trace: str = "poisson",
    load: float = 0.4,
    lanes: int = 2,
    *,
    budgets: str = "mixed",
    k1: tuple[float, float] = (0.99, 0.79),
    best: tuple[float, float] = (0.98, 0.77),
    safe: tuple[float, float] = (0.985, 0.76),
) -> CellResult:
    """`k1`, `best`, `safe`: attainment and effective accuracy of K1, of SlackFit, of the cheapest variant alone."""
    return CellResult(
        Cell(trace, load, budgets, lanes),
        1000,
        0.82,
        (
            result("k1", *k1),
            result("static-cheapest", *safe, (k1[0] - safe[0], k1[1] - safe[1])),
            result("slackfit", *best, (k1[0] - best[0], k1[1] - best[1])),
        ),
    )


def study(*cells: CellResult) -> Study:
    """All sections filled."""
    known = cells or (cell(), cell("gamma4"), cell(load=0.8), cell(lanes=8))
    course = Course("k1", {"b0": [0.5, 0.6], "b7": [0.4, 0.2]}, [0.1, 0.2])
    return Study(
        machine={"cpu": "made up"},
        setting=Setting(
            times="made-up times",
            accuracies="made-up accuracies",
            variants=(Facts("b0", 0.77, 20.0), Facts("b7", 0.84, 200.0)),
            reference_ms=30.0,
            budgets_ms={"mixed": "50, 100"},
            seeds=(1, 2),
            requests=500,
            training_requests=200,
            grids={"slackfit": {"buckets": [8.0, 16.0]}},
        ),
        goals=(
            Goal("G1", "much", 0.96, 0.95, "%", 2, reached=True),
            Goal("G4", "fewer misses", 1.5, 3.0, "times", 2, reached=False),
            Goal("G2", "<more>", -0.01, 0.0, "points", 2, reached=False, misses=(Miss("poisson", -0.01, 0.0, "x"),)),
        ),
        series=(Series(known[0].cell, 1.0, [0.4, 1.2], (course,)),),
        cells=tuple(known),
    )
