"""Tasks in the process that runs the playbook.

Ansible makes a process for each task of each host. With simulated hosts, which wait for nothing,
that costs more than the task: the process copies all memory that it or its parent writes to.
"""

from __future__ import annotations

import threading
from typing import Any


def run_in_this_process() -> None:
    """Let Ansible run tasks one after the other, each as soon as it is queued.

    A task has its own copy of what its process would have changed, and its output and result go
    through the queue, as they do from a process. Only its memory is that of the next one, too.
    """
    from ansible.executor.process import worker
    from ansible.utils.display import Display

    # Each task gets its process before ansible-core 2.19, and where another class has the results.
    if not hasattr(worker, "_RawTaskResult"):
        return
    # Another thread shows what comes out of the queue.
    queue = threading.local()
    Display._final_q = property(  # type: ignore[assignment]
        lambda _self: getattr(queue, "of_task", None), lambda _self, _value: None
    )

    def start(self: Any) -> None:
        queue.of_task = self._final_q
        try:
            _run(worker, self)
        finally:
            queue.of_task = None

    worker.WorkerProcess.start = start


def _run(worker: Any, process: Any) -> None:
    """Do what a process (of the module *worker*) does."""
    task = process._task.copy(exclude_parent=True, exclude_tasks=True)
    task._parent = process._task._parent
    with worker._task.TaskContext(task):
        result = worker.TaskExecutor(
            process._host,
            task,
            process._task_vars.copy(),
            process._play_context.copy(),
            process._loader,
            process._shared_loader_obj,
            process._final_q,
            process._variable_manager,
        ).run()
    process._final_q.send_task_result(
        worker._RawTaskResult(
            host=process._host, task=task, return_data=result, task_fields=task.dump_attrs()
        )
    )
