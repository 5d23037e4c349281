"""ONNX Runtime over a sealed package: from memory, each run under the lease."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ledger.errors import LedgerError, ToolMissing, UnsupportedModel, UsageError
from ledger.sealed.memory import burn

if TYPE_CHECKING:
    from ledger.serving.model import SealedModel


# Options keep bare addresses of what a session was made from, and look there again when another
# session is made with them: that memory, zero by then, must exist for as long as they do.
_HELD: WeakKeyDictionary[Any, list[memoryview]] = WeakKeyDictionary()


class OnnxSession:
    """An ``onnxruntime.InferenceSession`` made without a file, that ends with the lease.

    ONNX Runtime keeps copies of the weights in its own heap. They are freed when the session ends,
    which the end of the lease or of the model brings about, and not zeroed: that memory is not
    ours.
    """

    def __init__(self, model: SealedModel, name: str | None, **options: Any) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._name = _chosen(model, name)
        self._session: Any = _create(model, self._name, options)
        model.at_end(self._end)

    def __repr__(self) -> str:
        return f"<OnnxSession of {self._name}>"

    def run(self, outputs: list[str] | None, feed: dict[str, Any], **options: Any) -> list[Any]:
        """Run the model, as ``InferenceSession.run``.

        Raises:
            LeaseExpired: the lease was lost.
            UsageError: the session is closed.
        """
        result: list[Any] = self.inner.run(outputs, feed, **options)
        return result

    @property
    def inner(self) -> Any:
        """The session itself, for its other methods. Keep no reference to it.

        Raises:
            LeaseExpired: the lease was lost.
            UsageError: the session is closed.
        """
        self._model.keeper.require()
        session = self._session
        if session is None:
            raise UsageError(
                "the ONNX session is closed", hint="use it inside the model's with block"
            )
        return session

    def get_inputs(self) -> list[Any]:
        """The model's inputs."""
        return list(self.inner.get_inputs())

    def get_outputs(self) -> list[Any]:
        """The model's outputs."""
        return list(self.inner.get_outputs())

    def close(self) -> None:
        """Let go of the session. Safe to repeat."""
        self._end(None)

    def _end(self, _reason: LedgerError | None) -> None:
        with self._lock:
            self._session = None


def _chosen(model: SealedModel, name: str | None) -> str:
    there = [m.name for m in model.sealed_file.members if m.name.lower().endswith(".onnx")]
    if name is None and len(there) == 1:
        return there[0]
    if name in there:
        return name
    if not there:
        raise UnsupportedModel(
            "the package holds no ONNX file", hint="state_dict() and get_tensor give its tensors"
        )
    raise UsageError(f"say which ONNX file: {', '.join(there)[:400]}")


def _create(model: SealedModel, name: str, options: dict[str, Any]) -> Any:
    try:
        import onnxruntime  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise ToolMissing(
            "an ONNX session needs onnxruntime", hint="pip install onnxruntime"
        ) from None
    settings = options.pop("sess_options", None) or onnxruntime.SessionOptions()
    if settings.optimized_model_filepath:
        raise UsageError(
            "sess_options would write the optimized model, weights included, to a disk",
            hint="leave optimized_model_filepath unset",
        )
    sealed = model.sealed_file
    folder = name.rpartition("/")[0]
    beside = {
        member.name[len(folder) + 1 if folder else 0 :]: sealed.read_member(member.name)
        for member in sealed.members
        if member.role == "weights"
        and not member.name.lower().endswith(".onnx")
        and (not folder or member.name.startswith(folder + "/"))
    }
    if beside:
        if settings in _HELD:
            raise UsageError(
                "these sess_options hold another session's weights",
                hint="make new onnxruntime.SessionOptions for each session",
            )
        _HELD[settings] = list(beside.values())
        settings.add_external_initializers_from_files_in_memory(
            list(beside), list(beside.values()), [len(data) for data in beside.values()]
        )
    # The binding insists on ``bytes``, and keeps them for a fall-back that is not wanted here.
    raw = bytes(sealed.read_member(name))
    try:
        return onnxruntime.InferenceSession(
            raw,
            sess_options=settings,
            **{"providers": ["CPUExecutionProvider"], "enable_fallback": 0, **options},
        )
    except Exception as error:  # noqa: BLE001
        # Its own exceptions have no common class.
        raise UnsupportedModel(
            f"ONNX Runtime does not take {name}: {str(error)[:300]}",
            hint="check that this onnxruntime runs the plain model",
        ) from None
    finally:
        burn(raw)
