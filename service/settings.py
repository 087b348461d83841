"""Every setting, in groups, with its meaning, unit and the reason for its default.

Built once from flags, environment, file and defaults (in that order of precedence), frozen, and passed down as plain
values: only the command line and the composition root read this module. `docs/settings.md` is checked against it.

Environment: `EFFSERVE_<GROUP>_<NAME>`, for example `EFFSERVE_HTTP_PORT=8080`. File: TOML, one table a group.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.core.policy import MOST_LOST
from service.core.scheduler import LOSS_WINDOW_S, PRIOR_IN_TIME
from service.core.values import Mode, PolicyName
from service.pipeline.session import ExecutionProvider
from service.repository import StoreChanges

PREFIX = "EFFSERVE_"
NOT_SETTINGS = frozenset({"EFFSERVE_CONFIG", "EFFSERVE_URL"})
"""Read by the command line itself."""

Overrides = Mapping[str, Mapping[str, Any]]


class SettingsError(Exception):
    """A setting that is unknown or has a value it cannot have. The message is one line that names it."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: object, info: ValidationInfo) -> object:
        # TOML has truth values, and pydantic would take true for 1.
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("true and false are no value of it")
        return value


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "effserve"


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "effserve"


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Http(_Group):
    """The HTTP edge."""

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Loopback, because the service has no authentication of its own; "
        "`0.0.0.0` opens it to the network.",
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    keep_alive_s: float = Field(
        75.0,
        gt=0,
        le=86_400,
        description="Idle seconds after which a connection is closed; longer than most load balancers'.",
    )

    upload_timeout_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Longest time from the headers of a request to the end of its body, in seconds.",
    )


class Grpc(_Group):
    """The gRPC edge."""

    host: str = Field("127.0.0.1", description="Address to listen on; see `http.host`.")
    port: int = Field(9000, ge=0, le=65535, description="TCP port; 0 lets the system choose one.")
    reflection: bool = Field(True, description="Whether clients such as grpcurl may list the services.")


class Store(_Group):
    """The model store."""

    dir: Path = Field(
        default_factory=lambda: _data_home() / "store",
        description="Folder with `<variant>/<version>/model.onnx`. Default: `$XDG_DATA_HOME/effserve/store`, "
        "or `~/.local/share/effserve/store`.",
    )
    changes: StoreChanges = Field(
        StoreChanges.NONE,
        description="Who changes what is served while the service runs: `none` nobody; `explicit` whoever can reach "
        "it, by loading, unloading and `effserve reload`; `poll` the store, which is looked at again and again, and "
        "`effserve reload`. Nobody, because the service has no authentication: who classifies could unload as well, "
        "and so could any web page in a browser that reaches the port. Only what is in the store can be loaded.",
    )
    memory_limit_mib: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = Field(
        None,
        description="Most memory that variants may take, in MiB: their weights, and what as many runs as there are "
        "lanes compute on the way. The most useful variants are kept within it, always with the cheapest that budgets "
        "may choose; others are loaded for who names them ([memory](memory.md)). The process itself and the images in "
        "hand come on top. None: no limit. Needs `workers.count` to be 1.",
    )
    poll_s: float = Field(
        15.0,
        gt=0,
        le=86_400,
        description="Seconds between two such looks, where `store.changes` is `poll`. Files are read again when their "
        "size or time of change is another.",
    )


class Routing(_Group):
    """How a budget becomes a variant."""

    default_budget_ms: float = Field(
        100.0, gt=0, allow_inf_nan=False, description="Budget of a request that names none, in milliseconds."
    )
    default_mode: Mode = Field(
        Mode.BEST_EFFORT,
        description="What a request gets that no variant fits: `best_effort` answers late, `strict` refuses.",
    )
    policy: PolicyName = Field(
        PolicyName.K1,
        description="What a request gets that names none: `k1` spends the budget on one run, `p2` answers by the "
        "cheapest variant first and upgrades in spare time, `p3` upgrades only the least confident answers.",
    )
    route_untrained: bool = Field(
        False,
        description="Let budgets choose seeded weights, ranked by what was published for their architecture. "
        "For capacity planning: predictions mean nothing, and each answer says so.",
    )
    miss_rate: float = Field(
        0.01, gt=0, lt=0.5, description="Share of runs that may exceed the predicted tail: 0.01 plans with the p99."
    )
    utilisation: float = Field(
        0.97, gt=0, le=1, description="Share of the lanes' time that planning for waiting requests may use."
    )
    terminate_runs: bool = Field(
        True,
        description="Stop a run when a more urgent request would otherwise miss its deadline: an upgrade, or one for a "
        "later deadline. Its own request is answered by the cheapest variant. Off by itself where the execution "
        "provider cannot stop a run.",
    )
    insure_under_load: bool = Field(
        True,
        description=f"While more than {MOST_LOST * 100:g} % of the requests of the last {LOSS_WINDOW_S:g} s "
        f"and {PRIOR_IN_TIME} more were refused or late for want of a lane, answer those with policy `k1` as with "
        "`p2`: the cheapest variant first, better ones in spare time.",
    )
    arrival_reserve: float = Field(
        0.75,
        ge=0,
        le=10,
        description="How many more requests than at the present rate planning is prepared for, in standard deviations "
        "of a Poisson process.",
    )


def _automatic(value: object) -> object:
    return None if value == "auto" else value


class Workers(_Group):
    """Processes that answer, on the same two ports; see [scaling](scaling.md)."""

    count: Annotated[Annotated[int, Field(ge=1, le=256)] | None, BeforeValidator(_automatic)] = Field(
        1,
        description="How many, or `auto`: one for each 8 lanes. Cores and lanes are shared out among them, variants "
        "are in the memory of each, and each has a queue of its own, so more than one pays only where one event loop "
        "is not enough.",
    )


class Lanes(_Group):
    """Threads that decode and run."""

    count: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Requests in work at the same time, in all workers. None: usable cores ÷ `lanes.threads`; usable "
        "means affinity and cgroup quota, not what the machine has.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Intra-op threads of one run. 1 carries the most requests, more make a run quicker. None: 1 where "
        "`lanes.count` is set or `lanes.provider` is not `cpu`; else the fewest with which the cheapest variant fits "
        "`routing.default_budget_ms`, by what it takes on this machine.",
    )
    background: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="Upgrades of answers in hand at the same time, on threads that the kernel runs only when a "
        "core would idle. None, and at most: as many as lanes. There are none unless `lanes.provider` is `cpu` and "
        "`lanes.threads` 1, nor where the kernel has no such threads; the cheapest variant's answer is then the last.",
    )
    nice: int = Field(
        5,
        ge=0,
        le=19,
        description="How much lanes give way to the threads that receive, decide and answer (Linux; nice(2)). At 0 a "
        "decision waits up to 4 ms for a core while all lanes run. Other processes in the same container or session "
        "gain, too.",
    )
    provider: ExecutionProvider = Field(
        ExecutionProvider.CPU,
        description="ONNX Runtime execution provider; others than `cpu` need their build of it. One that is missing or "
        "does not start ends the start (docs/providers.md).",
    )
    device: str | None = Field(
        None,
        description="Which device of `lanes.provider`: a number for `cuda` and `tensorrt`, a name such as `GPU` or "
        "`NPU` for `openvino`. None: the first, and for `openvino` the CPU.",
    )
    provider_cache: Path | None = Field(
        None,
        description="Folder in which `tensorrt` and `openvino` keep compiled graphs. None: they compile at each start, "
        "which takes TensorRT minutes.",
    )


class Images(_Group):
    """How images become pixels; see [preprocessing](preprocessing.md)."""

    exact: bool = Field(
        False,
        description="Whether every pixel is, to the bit, what timm's transform gives by Pillow. Off, because the "
        "quicker way differs by rounding, and by under half a level on average where a large JPEG is decoded at a "
        "reduced scale, which hardly changes an answer.",
    )


class Limits(_Group):
    """What is refused."""

    image_bytes: int = Field(
        20_000_000, ge=1_000, description="Largest encoded image, the same for both protocols (413 beyond)."
    )
    request_bytes: int = Field(
        64_000_000,
        ge=1_000,
        description="Largest request of the Open Inference Protocol, which may hold several images, the same for both "
        "protocols and counted after decompression (413 beyond).",
    )
    batch: int = Field(
        32,
        ge=1,
        le=1024,
        description="Most images in one such request (413 beyond). They run one by one, so more of them only wait.",
    )
    pixels: int = Field(
        50_000_000,
        ge=1,
        description="Most pixels an image header may announce (413 beyond). At the default a lane needs 0.4 GB for a "
        "moment, 1.2 GB for a transparent PNG.",
    )
    uploads_bytes: int = Field(
        500_000_000,
        ge=1_000,
        description="Bytes of all HTTP bodies in a worker at one time; requests beyond are refused (503).",
    )
    patience_ms: float = Field(
        250.0,
        ge=0,
        allow_inf_nan=False,
        description="How long after its deadline a request that asked for best effort may wait for its run, in "
        "milliseconds. Who would have to wait longer is refused (503), under overload at the door.",
    )


class Calibration(_Group):
    """Measuring latencies at start-up."""

    dir: Path = Field(
        default_factory=_cache_home,
        description="Folder for measurements, by CPU and runtime version, so that the next start is quick. "
        "Default: `$XDG_CACHE_HOME/effserve`, or `~/.cache/effserve`.",
    )
    reuse: bool = Field(True, description="Whether earlier measurements are used; false measures at each start.")
    seconds_per_variant: float = Field(
        0.5, gt=0, le=60, description="Time to spend on each variant, in seconds; at least three runs are made."
    )
    graphs: bool = Field(
        True,
        description="Whether graphs are kept in that folder as ONNX Runtime optimises them for this machine, which "
        "takes as much room as the store: starts are quicker, runs mostly, and processes share weights. What was not "
        "used for 30 days is removed.",
    )

    @property
    def graphs_dir(self) -> Path | None:
        """Where they are; None where none are kept."""
        return self.dir / "graphs" if self.graphs else None


class Drain(_Group):
    """Shutting down on SIGTERM."""

    grace_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="Seconds of normal service after readiness went off, so that load balancers can look away.",
    )
    timeout_s: float = Field(
        30.0, gt=0, le=3600, description="Longest wait for requests in hand, in seconds; what still runs is cut then."
    )


class Log(_Group):
    """What is written to standard output."""

    level: LogLevel = Field(LogLevel.INFO, description="Least severe lines: `debug`, `info`, `warning`, `error`.")
    format: LogFormat = Field(LogFormat.AUTO, description="`json`, `console`, or `auto`: console on a terminal.")
    requests: bool = Field(True, description="One line for each request.")
    changes: bool = Field(
        False,
        description="Whether whoever reaches the service may change the level while it runs, by the Open Inference "
        "Protocol's `logging` extension. Not by default: the service has no authentication, and who asks could also "
        "hide what he does, or fill a disk. Needs `workers.count` to be 1.",
    )


class Telemetry(_Group):
    """What metrics are told beside what happens."""

    price_per_core_hour: float = Field(
        0.04,
        ge=0,
        allow_inf_nan=False,
        description="What one core costs for an hour, in your currency; of it the cost of 1,000 answers is made. "
        "The default is about what clouds ask for in dollars.",
    )


class Tracing(_Group):
    """OpenTelemetry spans of requests; see [tracing](tracing.md)."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}/?$",
        description="Where a collector takes OTLP over gRPC, e.g. `http://localhost:4317`; with TLS `https://…`. None: "
        "nothing is traced. Needs the extra `tracing`.",
    )
    sample_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of traces that are recorded, of those that begin here. A caller who sends its own trace "
        "has decided already.",
    )
    changes: bool = Field(
        False,
        description="Whether whoever reaches the service may switch tracing off and on and change that share while it "
        "runs, by the Open Inference Protocol's `trace` extension. Not by default, as for `log.changes`.",
    )


class Settings(BaseSettings):
    """All groups."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    http: Http = Field(default_factory=Http)
    grpc: Grpc = Field(default_factory=Grpc)
    store: Store = Field(default_factory=Store)
    routing: Routing = Field(default_factory=Routing)
    workers: Workers = Field(default_factory=Workers)
    lanes: Lanes = Field(default_factory=Lanes)
    images: Images = Field(default_factory=Images)
    limits: Limits = Field(default_factory=Limits)
    calibration: Calibration = Field(default_factory=Calibration)
    drain: Drain = Field(default_factory=Drain)
    log: Log = Field(default_factory=Log)
    telemetry: Telemetry = Field(default_factory=Telemetry)
    tracing: Tracing = Field(default_factory=Tracing)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over what `load` passes in (the file's content); flags are merged above both by `load`."""
        return (env_settings, init_settings)


def load(config: Path | None = None, overrides: Overrides | None = None) -> Settings:
    """Settings from flags (`overrides`), then environment, then the TOML file, then defaults.

    Raises `SettingsError` for a file that cannot be read, a name that is not a setting, or a value out of range.
    """
    content = _file(config) if config is not None else {}
    _known(_environment(), [variable(name) for name in names()], "environment variable", PREFIX)
    in_file = [f"{group}.{name}" for group, values in content.items() for name in _table(config, group, values)]
    _known(content, groups(), "group of settings")
    _known(in_file, names(), "setting")
    try:
        below = Settings(**content)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from error
    return below.model_copy(update={group: _with(below, group, given) for group, given in (overrides or {}).items()})


def _with(below: Settings, group: str, given: Mapping[str, Any]) -> _Group:
    """A validated copy of a group with some values changed."""
    lower: _Group = getattr(below, group)
    try:
        return type(lower).model_validate(dict(lower) | dict(given))
    except ValidationError as error:
        raise SettingsError(_one_line(error, group)) from error


def groups() -> dict[str, type[BaseModel]]:
    """The groups by name."""
    return {name: cast("type[BaseModel]", field.annotation) for name, field in Settings.model_fields.items()}


def names() -> list[str]:
    """Every setting as `group.name`."""
    return [f"{group}.{name}" for group, model in groups().items() for name in model.model_fields]


def variable(name: str) -> str:
    """The environment variable of the setting `group.name`."""
    return PREFIX + name.replace(".", "_").upper()


def _environment() -> list[str]:
    """The variables that are meant to be settings, in upper case."""
    set_here = (name.upper() for name in os.environ)
    return [name for name in set_here if name.startswith(PREFIX) and name not in NOT_SETTINGS]


def _known(given: Iterable[str], known: Iterable[str], what: str, prefix: str = "") -> None:
    """Raise `SettingsError` for a name that is not known, with the closest one that is; `prefix` says nothing."""
    comparable = {name.removeprefix(prefix).lower(): name for name in known}
    for name in given:
        if name not in comparable.values():
            close = difflib.get_close_matches(name.removeprefix(prefix).lower(), comparable, 1)
            hint = f"; did you mean {comparable[close[0]]}?" if close else ""
            raise SettingsError(f"{name} is not a known {what}{hint}")


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"the settings file {path} is not TOML: {error}") from error


def _table(path: Path | None, group: str, values: object) -> Iterable[str]:
    if not isinstance(values, dict):
        raise SettingsError(f"{group} in {path} is not a table; settings stand in tables such as [http]")
    return values


def _one_line(error: ValidationError, *groups: str) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, (*groups, *first['loc'])))}: {first['msg']}, got {first['input']!r}"
