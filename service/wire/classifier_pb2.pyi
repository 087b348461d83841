# mypy: ignore-errors
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_BEST_EFFORT: _ClassVar[Mode]
    MODE_STRICT: _ClassVar[Mode]

class Policy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POLICY_UNSPECIFIED: _ClassVar[Policy]
    POLICY_K1: _ClassVar[Policy]
    POLICY_P2: _ClassVar[Policy]
    POLICY_P3: _ClassVar[Policy]
MODE_UNSPECIFIED: Mode
MODE_BEST_EFFORT: Mode
MODE_STRICT: Mode
POLICY_UNSPECIFIED: Policy
POLICY_K1: Policy
POLICY_P2: Policy
POLICY_P3: Policy

class ClassifyRequest(_message.Message):
    __slots__ = ("image", "budget_ms", "top_k", "variant", "min_accuracy", "mode", "explain", "request_id", "policy")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MIN_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    budget_ms: float
    top_k: int
    variant: str
    min_accuracy: float
    mode: Mode
    explain: bool
    request_id: str
    policy: Policy
    def __init__(self, image: _Optional[bytes] = ..., budget_ms: _Optional[float] = ..., top_k: _Optional[int] = ..., variant: _Optional[str] = ..., min_accuracy: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ..., explain: _Optional[bool] = ..., request_id: _Optional[str] = ..., policy: _Optional[_Union[Policy, str]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("request_id", "predictions", "decision", "timing", "budget", "image", "warnings", "final", "members")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTIONS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    predictions: _containers.RepeatedCompositeFieldContainer[Prediction]
    decision: Decision
    timing: Timing
    budget: Budget
    image: Image
    warnings: _containers.RepeatedScalarFieldContainer[str]
    final: bool
    members: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., predictions: _Optional[_Iterable[_Union[Prediction, _Mapping]]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., budget: _Optional[_Union[Budget, _Mapping]] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., final: _Optional[bool] = ..., members: _Optional[_Iterable[str]] = ...) -> None: ...

class ClassifyStreamResponse(_message.Message):
    __slots__ = ("request_id", "answer", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    answer: ClassifyResponse
    error: Error
    def __init__(self, request_id: _Optional[str] = ..., answer: _Optional[_Union[ClassifyResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("kind", "detail", "facts", "retry_after_ms")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    detail: str
    facts: _struct_pb2.Struct
    retry_after_ms: float
    def __init__(self, kind: _Optional[str] = ..., detail: _Optional[str] = ..., facts: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., retry_after_ms: _Optional[float] = ...) -> None: ...

class Prediction(_message.Message):
    __slots__ = ("index", "wnid", "label", "probability")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WNID_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    index: int
    wnid: str
    label: str
    probability: float
    def __init__(self, index: _Optional[int] = ..., wnid: _Optional[str] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("variant", "version", "expected_top1", "expected_top1_source", "trained", "expected_ms", "tail_ms", "remaining_ms", "fits", "reason", "why", "candidates", "terminated")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TOP1_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TOP1_SOURCE_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MS_FIELD_NUMBER: _ClassVar[int]
    TAIL_MS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_MS_FIELD_NUMBER: _ClassVar[int]
    FITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    TERMINATED_FIELD_NUMBER: _ClassVar[int]
    variant: str
    version: int
    expected_top1: float
    expected_top1_source: str
    trained: bool
    expected_ms: float
    tail_ms: float
    remaining_ms: float
    fits: bool
    reason: str
    why: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    terminated: str
    def __init__(self, variant: _Optional[str] = ..., version: _Optional[int] = ..., expected_top1: _Optional[float] = ..., expected_top1_source: _Optional[str] = ..., trained: _Optional[bool] = ..., expected_ms: _Optional[float] = ..., tail_ms: _Optional[float] = ..., remaining_ms: _Optional[float] = ..., fits: _Optional[bool] = ..., reason: _Optional[str] = ..., why: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., terminated: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("variant", "version", "top1", "top1_source", "expected_ms", "tail_ms", "verdict")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOP1_FIELD_NUMBER: _ClassVar[int]
    TOP1_SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MS_FIELD_NUMBER: _ClassVar[int]
    TAIL_MS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    variant: str
    version: int
    top1: float
    top1_source: str
    expected_ms: float
    tail_ms: float
    verdict: str
    def __init__(self, variant: _Optional[str] = ..., version: _Optional[int] = ..., top1: _Optional[float] = ..., top1_source: _Optional[str] = ..., expected_ms: _Optional[float] = ..., tail_ms: _Optional[float] = ..., verdict: _Optional[str] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("receive_ms", "queue_ms", "decode_ms", "inference_ms", "respond_ms", "total_ms", "hold_ms")
    RECEIVE_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_MS_FIELD_NUMBER: _ClassVar[int]
    RESPOND_MS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MS_FIELD_NUMBER: _ClassVar[int]
    HOLD_MS_FIELD_NUMBER: _ClassVar[int]
    receive_ms: float
    queue_ms: float
    decode_ms: float
    inference_ms: float
    respond_ms: float
    total_ms: float
    hold_ms: float
    def __init__(self, receive_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., inference_ms: _Optional[float] = ..., respond_ms: _Optional[float] = ..., total_ms: _Optional[float] = ..., hold_ms: _Optional[float] = ...) -> None: ...

class Budget(_message.Message):
    __slots__ = ("requested_ms", "spent_ms", "met")
    REQUESTED_MS_FIELD_NUMBER: _ClassVar[int]
    SPENT_MS_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    requested_ms: float
    spent_ms: float
    met: bool
    def __init__(self, requested_ms: _Optional[float] = ..., spent_ms: _Optional[float] = ..., met: _Optional[bool] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("format", "width_px", "height_px", "bytes")
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    format: str
    width_px: int
    height_px: int
    bytes: int
    def __init__(self, format: _Optional[str] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("budget_ms", "variant", "min_accuracy", "mode", "policy")
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MIN_ACCURACY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    budget_ms: float
    variant: str
    min_accuracy: float
    mode: Mode
    policy: Policy
    def __init__(self, budget_ms: _Optional[float] = ..., variant: _Optional[str] = ..., min_accuracy: _Optional[float] = ..., mode: _Optional[_Union[Mode, str]] = ..., policy: _Optional[_Union[Policy, str]] = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("decision", "budget_ms", "smallest_feasible_budget_ms", "would_be_refused")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    SMALLEST_FEASIBLE_BUDGET_MS_FIELD_NUMBER: _ClassVar[int]
    WOULD_BE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    decision: Decision
    budget_ms: float
    smallest_feasible_budget_ms: float
    would_be_refused: bool
    def __init__(self, decision: _Optional[_Union[Decision, _Mapping]] = ..., budget_ms: _Optional[float] = ..., smallest_feasible_budget_ms: _Optional[float] = ..., would_be_refused: _Optional[bool] = ...) -> None: ...

class ListVariantsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListVariantsResponse(_message.Message):
    __slots__ = ("variants", "refused")
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    variants: _containers.RepeatedCompositeFieldContainer[Variant]
    refused: _containers.RepeatedCompositeFieldContainer[RefusedVariant]
    def __init__(self, variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ..., refused: _Optional[_Iterable[_Union[RefusedVariant, _Mapping]]] = ...) -> None: ...

class Variant(_message.Message):
    __slots__ = ("name", "version", "trained", "rank_top1", "rank_source", "accuracy", "expected_ms", "tail_ms", "params", "macs", "input_size_px", "graph_bytes", "pareto", "routed", "resident", "weights", "answers", "not_routed", "memory_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    RANK_TOP1_FIELD_NUMBER: _ClassVar[int]
    RANK_SOURCE_FIELD_NUMBER: _ClassVar[int]
    ACCURACY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_MS_FIELD_NUMBER: _ClassVar[int]
    TAIL_MS_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    MACS_FIELD_NUMBER: _ClassVar[int]
    INPUT_SIZE_PX_FIELD_NUMBER: _ClassVar[int]
    GRAPH_BYTES_FIELD_NUMBER: _ClassVar[int]
    PARETO_FIELD_NUMBER: _ClassVar[int]
    ROUTED_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NOT_ROUTED_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    trained: bool
    rank_top1: float
    rank_source: str
    accuracy: Accuracy
    expected_ms: float
    tail_ms: float
    params: int
    macs: int
    input_size_px: int
    graph_bytes: int
    pareto: bool
    routed: bool
    resident: bool
    weights: Weights
    answers: int
    not_routed: str
    memory_bytes: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., trained: _Optional[bool] = ..., rank_top1: _Optional[float] = ..., rank_source: _Optional[str] = ..., accuracy: _Optional[_Union[Accuracy, _Mapping]] = ..., expected_ms: _Optional[float] = ..., tail_ms: _Optional[float] = ..., params: _Optional[int] = ..., macs: _Optional[int] = ..., input_size_px: _Optional[int] = ..., graph_bytes: _Optional[int] = ..., pareto: _Optional[bool] = ..., routed: _Optional[bool] = ..., resident: _Optional[bool] = ..., weights: _Optional[_Union[Weights, _Mapping]] = ..., answers: _Optional[int] = ..., not_routed: _Optional[str] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Accuracy(_message.Message):
    __slots__ = ("top1", "top5", "dataset", "source")
    TOP1_FIELD_NUMBER: _ClassVar[int]
    TOP5_FIELD_NUMBER: _ClassVar[int]
    DATASET_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    top1: float
    top5: float
    dataset: str
    source: str
    def __init__(self, top1: _Optional[float] = ..., top5: _Optional[float] = ..., dataset: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class Weights(_message.Message):
    __slots__ = ("kind", "source", "licence")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    source: str
    licence: str
    def __init__(self, kind: _Optional[str] = ..., source: _Optional[str] = ..., licence: _Optional[str] = ...) -> None: ...

class RefusedVariant(_message.Message):
    __slots__ = ("name", "version", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("change", "name", "version", "reason")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    change: str
    name: str
    version: str
    reason: str
    def __init__(self, change: _Optional[str] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
