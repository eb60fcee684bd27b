"""From three people's logs of an arm to a guarded policy on it, by the commands of this project.

  python examples/arm/story.py --out arm-story            # all of it
  python examples/arm/story.py --out arm-story --short    # without IQL and `select`, few trials: what the tests run

Every command is printed before it runs, so that it can be typed. A step that is done is not done again: after Ctrl-C
the story goes on from there. Where your arm takes the twin's place, `record` is your people and `ros2 bag record`, and
the names in the YAML files and in `arm.py` become yours; the rest stays.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ARM = shlex.quote(str(HERE))
RUNS = "runs/arm-reach-v0"
REVIEW = ("    max_age:", "    check_stamps: false   # a twin's clock may be slower than this computer's\n    max_age:")
"""What somebody who read the config of a twin changed in it. For an arm: what is marked REVIEW in it."""


@dataclass(frozen=True)
class Size:
    """How much of everything: recorded episodes of an operator, gradient steps by agent, and of each fit by which
    `select` judges a checkpoint (0: left out, for it takes longer than the training), trials of a policy."""

    episodes: int
    steps: dict[str, int]
    fit: int
    trials: int


FULL = Size(40, {"lapo": 4000, "bc": 4000, "iql": 4000}, 3000, 20)
SHORT = Size(40, {"lapo": 4000, "bc": 4000}, 0, 4)


class Story:
    """The steps of the story, in a folder."""

    def __init__(self, out: Path, size: Size) -> None:
        self.out, self.size, self.url = out.resolve(), size, ""
        self.out.mkdir(parents=True, exist_ok=True)
        os.environ["MINARI_DATASETS_PATH"] = str(self.out / "data")

    # The steps --------------------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Three operators on the twin, a bag of each."""
        with self.twin("--lock-step"):
            self.run(f"{ARM}/operators.py --url {self.url} --out logs --episodes {self.size.episodes}")

    def data(self) -> None:
        """Bags to a data set, a look at it, and the rewards of a rule of one's own."""
        self.run(f"-m lapo_tf.data import bag logs --layout {ARM}/layout.yaml --id arm/logs-v0 --force")
        self.run("-m lapo_tf.data inspect arm/logs-v0")
        self.run(f"-m lapo_tf.data relabel arm/logs-v0 --function {ARM}/reward.py:reach --id arm/reach-v0 --force")

    def train(self, agent: str) -> None:
        """Without a simulator, judged on held-out episodes."""
        steps = self.size.steps[agent]
        options = f"--config {ARM}/train.yaml --steps {steps} --eval-every {steps // 4}"
        self.run(f"-m lapo_tf.train --dataset arm/reach-v0 --agent {agent} {options}")

    def export(self, agent: str) -> None:
        """A run to a policy bundle."""
        self.run(f"-m lapo_tf.export {RUNS}/{agent}/seed0 --out policies/{agent}")

    def check(self) -> None:
        """A robot config of what the bundle knows, reviewed, and compared with the arm."""
        self.run(f"-m robot_bridge.init --policy policies/lapo --urdf {ARM}/ur5e.urdf --out my-arm.yaml --force")
        config = self.out / "my-arm.yaml"
        config.write_text(config.read_text().replace(*REVIEW))
        with self.twin():
            self.run(f"-m robot_bridge.check --policy policies/lapo --robot my-arm.yaml --url {self.url}")

    def drive(self, agent: str, trials: int, out: str, options: str = "") -> None:
        """The policy node moves the twin in real time, behind all guards. On an arm of yours: begin at --speed 0.1."""
        node = f"-m robot_bridge.run --policy policies/{agent} --robot my-arm.yaml --speed 1"
        with self.twin(options), self.beside(f"{node} --url {self.url}"):
            self.run(f"{ARM}/trials.py --url {self.url} --episodes {trials} --out {out}")

    def tell(self, film: bool = False) -> None:
        """All of it, in order."""
        agents, trials = self.size.steps, self.size.trials
        self.step("record", self.record, made="logs")
        self.step("data", self.data)
        for agent in agents:
            self.step(f"train {agent}", self.train, agent, made=f"{RUNS}/{agent}")
        self.step("report", self.run, "-m lapo_tf.report runs")
        if self.size.fit:
            self.step("select", self.run, f"-m lapo_tf.select {RUNS} --steps {self.size.fit}")
        for agent in agents:
            self.step(f"export {agent}", self.export, agent)
        self.step("check", self.check)
        for agent in agents:
            self.step(f"drive {agent}", self.drive, agent, trials, f"trials-{agent}.json")
        if film:
            self.step("film", self.drive, "lapo", 3, "film.json", "--video film", made="film")
        self.run(f"{ARM}/summary.py .")

    # How they are run -------------------------------------------------------------------------------------------------

    def step(self, name: str, do: Callable[..., None], *args: Any, made: str | None = None) -> None:
        """Do a step unless it is done; what an interrupted one `made` is removed first."""
        done = self.out / "done" / name.replace(" ", "-")
        if done.exists():
            print(f"\n{name}: done before")
            return
        if made is not None:
            shutil.rmtree(self.out / made, ignore_errors=True)
        begin = time.monotonic()
        do(*args)
        done.parent.mkdir(exist_ok=True)
        done.touch()
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)

    def run(self, command: str) -> None:
        """Run a Python command to its end.

        Raises:
            SystemExit: it failed; it has said why.
        """
        print(f"\n$ python {command}", flush=True)
        if code := subprocess.run([sys.executable, *shlex.split(command)], cwd=self.out).returncode:
            raise SystemExit(f"that failed ({code}); once it is mended, the story goes on from there")

    @contextmanager
    def beside(self, command: str) -> Iterator[None]:
        """Run a Python command while the block lasts."""
        print(f"\n$ python {command} &", flush=True)
        child = subprocess.Popen([sys.executable, *shlex.split(command)], cwd=self.out, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(300.0)  # a film takes its time
            except subprocess.TimeoutExpired:
                child.kill()

    @contextmanager
    def twin(self, options: str = "") -> Iterator[None]:
        """The twin and a rosbridge at a free port."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}"
        twin = f"-m robot_bridge.sim --model {ARM}/scene.xml --robot {ARM}/twin.yaml --hold-dead-man"
        with self.beside(f"-m robot_bridge.server --port {port} --quiet"):
            until_open(port)
            with self.beside(f"{twin} --url {self.url} {options}".rstrip()):
                yield


def until_open(port: int) -> None:
    """Wait until somebody listens at a port of this computer.

    Raises:
        SystemExit: nobody does within a minute.
    """
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nobody listens at port {port}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="story.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="of all that is made")
    parser.add_argument("--short", action="store_true", help="LAPO and BC only, 4 trials of each")
    parser.add_argument("--film", action="store_true", help="film LAPO's policy on the twin")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what runs beside ends, too
    Story(args.out, SHORT if args.short else FULL).tell(args.film)


if __name__ == "__main__":
    main()
