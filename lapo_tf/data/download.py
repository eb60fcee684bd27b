"""Which Minari data sets are here, and downloading those that are not."""

from __future__ import annotations

import os
import shutil
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

import minari
from minari.dataset.minari_dataset import parse_dataset_id
from minari.storage.datasets_root_dir import get_dataset_path

from lapo_tf.data.hidden import settle_abandoned
from lapo_tf.errors import UserError, first_line

COLLECTED_NAMESPACE = "lapo/"  # of this project's collectors


class NotDownloadedError(UserError):
    """A data set that is not here and cannot be had now; `reason` says why in a few words."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def is_local(dataset_id: str) -> bool:
    """Whether a Minari data set is on this machine."""
    data = get_dataset_path(dataset_id) / "data"
    if not data.is_dir():
        with suppress(OSError):  # a folder that may only be read
            settle_abandoned(get_dataset_path())  # a process may have died while it was replaced
    return data.is_dir()


def download(dataset_id: str) -> Path:
    """The `data` folder of a Minari data set, which is downloaded if it is not here.

    Raises:
        NotDownloadedError: no network, or the download broke off; nothing is left of it.
        UserError: there is no such data set.
    """
    folder = get_dataset_path(dataset_id)
    data = folder / "data"
    if is_local(dataset_id):
        return data
    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):  # TypeError: Minari, where the version is missing
        raise _unknown(dataset_id, "expected FILE.hdf5 or a Minari id such as 'D4RL/kitchen/complete-v2'") from None
    if dataset_id.startswith(COLLECTED_NAMESPACE):
        raise _unknown(dataset_id, "make it with `python -m lapo_tf.collect`")
    existed = folder.exists()
    try:
        check_connection()
        minari.download_dataset(dataset_id)
    except BaseException as error:
        if not existed:  # an interrupted download must not be taken for a data set
            shutil.rmtree(folder, ignore_errors=True)
        if not isinstance(error, Exception):
            raise
        if isinstance(error, ValueError):  # Minari asked the remote: it has no such data set
            raise _unknown(dataset_id, first_line(error)) from error
        raise NotDownloadedError(
            f"data set '{dataset_id}' is not in {get_dataset_path()} and the download failed ({first_line(error)}): "
            f"give --dataset FILE.hdf5, run `minari download {dataset_id}` on a machine with a network "
            "and copy the folder here, or point MINARI_DATASETS_PATH at it",
            reason=first_line(error),
        ) from error
    if not data.is_dir():
        raise UserError(f"data set '{dataset_id}': {folder} exists but holds no data; delete it and run again")
    return data


def check_connection() -> None:
    """Fail at once where Hugging Face, Minari's remote, cannot be reached: its library would go on trying for 24 s."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not os.environ.get("MINARI_REMOTE", "hf://").startswith("hf://"):
        return
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=4).close()
    except urllib.error.HTTPError:  # it answers
        return
    except OSError as error:
        reason = getattr(error, "reason", error)
        if not isinstance(reason, ssl.SSLError):  # Hugging Face's library may know other certificates
            raise ConnectionError(f"no connection to {endpoint}: {reason}") from error


def _unknown(dataset_id: str, advice: str) -> UserError:
    near = get_close_matches(dataset_id, minari.list_local_datasets(), n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return UserError(f"unknown data set '{dataset_id}': {hint}{advice}")
