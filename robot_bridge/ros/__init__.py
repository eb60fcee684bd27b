"""ROS 2 nodes without ROS: rclpy's names, signatures and behaviour, over rosbridge.

    import robot_bridge.ros as rclpy
    from robot_bridge.ros.node import Node

    rclpy.init(url="ws://robot:9090")        # or ROSBRIDGE_URL; default ws://127.0.0.1:9090

A file that is written for rclpy runs unchanged after `import robot_bridge.ros.standin` at its top. What differs from
rclpy is in docs/ros-layer.md.
"""

from __future__ import annotations

from typing import Any

from robot_bridge.ros import signals as _signals
from robot_bridge.ros.context import Context, get_default_context
from robot_bridge.ros.executors import Executor, SingleThreadedExecutor
from robot_bridge.ros.node import Node
from robot_bridge.ros.parameter import Parameter
from robot_bridge.ros.signals import SignalHandlerOptions
from robot_bridge.ros.task import Future
from robot_bridge.transport import Transport

_executor: Executor | None = None


class InitContextManager:
    """What `init` returns: `with rclpy.init(): …` shuts down at the end."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def __enter__(self) -> InitContextManager:
        return self

    def __exit__(self, *exc: Any) -> None:
        try_shutdown(context=self._context)


def init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
    url: str | None = None,
    token: str | None = None,
    transport: Transport | None = None,
    connect_timeout: float | None = 5.0,
) -> InitContextManager:
    """Connect; see `Context.init` for `args`, `url`, `token`, `transport` and `connect_timeout`.

    Args:
        signal_handler_options: which signals shut the context down; None: Ctrl-C and SIGTERM for the default context,
            none for others.

    Raises:
        RuntimeError: initialised already.
        TransportError: no connection.
    """
    chosen = context or get_default_context()
    chosen.init(args, domain_id=domain_id, url=url, token=token, transport=transport, connect_timeout=connect_timeout)
    if signal_handler_options is None:
        signal_handler_options = SignalHandlerOptions.ALL if context is None else SignalHandlerOptions.NO
    if signal_handler_options:
        _signals.watch(chosen)
        _signals.install_signal_handlers(signal_handler_options)
    return InitContextManager(chosen)


def ok(*, context: Context | None = None) -> bool:
    """Whether `init` was called and nobody shut down since."""
    return (context or get_default_context()).ok()


def shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """End the connection and everything on it.

    Raises:
        RuntimeError: not initialised, or shut down already, by Ctrl-C for instance; `try_shutdown` does not mind.
    """
    chosen = context or get_default_context()
    _stop_spinning(chosen)
    try:
        chosen.shutdown()
    finally:
        _restore_signals(chosen, uninstall_handlers)


def try_shutdown(*, context: Context | None = None, uninstall_handlers: bool | None = None) -> None:
    """Shut down, unless that was done."""
    chosen = context or get_default_context()
    _stop_spinning(chosen)
    chosen.try_shutdown()
    _restore_signals(chosen, uninstall_handlers)


def _stop_spinning(context: Context) -> None:
    """Before the context ends, so that a `spin` in another thread returns instead of raising."""
    global _executor
    if context is get_default_context():
        executor, _executor = _executor, None
        if executor is not None:
            executor.shutdown(timeout_sec=0.0)  # it runs nothing more; a callback under way ends by itself


def _restore_signals(context: Context, uninstall_handlers: bool | None) -> None:
    if uninstall_handlers or (uninstall_handlers is None and context is get_default_context()):
        _signals.uninstall_signal_handlers()


def get_global_executor() -> Executor:
    """The executor that `spin` uses where none is given."""
    global _executor
    if _executor is None:
        _executor = SingleThreadedExecutor()
    return _executor


def create_node(
    node_name: str,
    *,
    context: Context | None = None,
    cli_args: list[str] | None = None,
    namespace: str | None = None,
    use_global_arguments: bool = True,
    enable_rosout: bool = True,
    start_parameter_services: bool = True,
    parameter_overrides: list[Parameter] | None = None,
    allow_undeclared_parameters: bool = False,
    automatically_declare_parameters_from_overrides: bool = False,
) -> Node:
    """A `Node`; see there."""
    return Node(
        node_name,
        context=context,
        cli_args=cli_args,
        namespace=namespace,
        use_global_arguments=use_global_arguments,
        enable_rosout=enable_rosout,
        start_parameter_services=start_parameter_services,
        parameter_overrides=parameter_overrides,
        allow_undeclared_parameters=allow_undeclared_parameters,
        automatically_declare_parameters_from_overrides=automatically_declare_parameters_from_overrides,
    )


def spin(node: Node, executor: Executor | None = None) -> None:
    """Run the node's callbacks until shutdown.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        ExternalShutdownException: shut down by SIGTERM. After `shutdown` in another thread it returns.
        what a callback raises.
    """
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        while executor.context.ok() and not executor._is_shutdown:
            executor.spin_once()
    finally:
        executor.remove_node(node)


def spin_once(node: Node, *, executor: Executor | None = None, timeout_sec: float | None = None) -> None:
    """Run one callback, or wait for one as long as `timeout_sec`."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_once(timeout_sec=timeout_sec)
    finally:
        executor.remove_node(node)


def spin_until_future_complete(
    node: Node, future: Future[Any], executor: Executor | None = None, timeout_sec: float | None = None
) -> None:
    """Run callbacks until the future is done, or `timeout_sec` has passed."""
    executor = executor or get_global_executor()
    try:
        executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec)
    finally:
        executor.remove_node(node)


def get_rmw_implementation_identifier() -> str:
    """What carries the messages."""
    return "rosbridge"
