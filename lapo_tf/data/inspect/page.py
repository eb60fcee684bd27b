"""The page of an inspection: one HTML file with everything in it, and the same as one picture."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from lapo_tf.data.inspect.figures import STYLE, band, head, sections
from lapo_tf.data.inspect.model import Inspection
from lapo_tf.errors import UserError

DPI = 110


def write_page(found: Inspection, folder: Path | str) -> tuple[Path, Path]:
    """Write `<name>.html` and `<name>.png` into a folder, and return their paths.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    name = re.sub(r"[^\w.-]+", "-", found.dataset.summary.id.removesuffix(".hdf5"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder} ({error.strerror}): give another --out") from error
    with mpl.rc_context(STYLE):
        pictures = [(title, text, _png(draw(found))) for title, text, draw in sections(found)]
        top = _png(head(found))
    page, picture = folder / f"{name}.html", folder / f"{name}.png"
    page.write_text(_html(found, pictures), encoding="utf-8")
    _stack([top, *(part for title, text, data in pictures for part in (_png(band(title, text)), data))]).save(picture)
    return page, picture


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=DPI, format="png", facecolor="white")
    return buffer.getvalue()


def _stack(pictures: list[bytes]) -> Image.Image:
    images = [Image.open(io.BytesIO(data)).convert("RGB") for data in pictures]
    width = max(image.width for image in images)
    page = Image.new("RGB", (width, sum(image.height for image in images)), "white")
    top = 0
    for image in images:
        page.paste(image, (0, top))
        top += image.height
    return page


# HTML -----------------------------------------------------------------------------------------------------------------

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1120px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
p { margin: .2rem 0 .8rem; color: #555; max-width: 46rem; }
table { border-collapse: collapse; margin: 1rem 0; } td { padding: .18rem 1.2rem .18rem 0; vertical-align: top; }
td:first-child { color: #777; white-space: nowrap; }
ul { list-style: none; padding: 0; }
li { padding: .35rem .8rem; margin: .3rem 0; border-left: 4px solid #bbb; background: #f6f7f8; }
li.grave { border-color: #D55E00; background: #fdf1e9; } li.good { border-color: #009E73; background: #eef8f4; }
img { width: 100%; height: auto; }
"""


def _html(found: Inspection, pictures: list[tuple[str, str, bytes]]) -> str:
    rows = "".join(f"<tr><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>" for a, b in found.rows())
    notes = "".join(
        f'<li class="{"grave" if finding.grave else "note"}">{html.escape(finding.text)}</li>'
        for finding in sorted(found.findings, key=lambda finding: not finding.grave)
    )
    notes = notes or '<li class="good">Nothing suspicious found.</li>'
    body = "".join(
        f'<h2>{title}</h2><p>{html.escape(text)}</p><img alt="{title}" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        for title, text, data in pictures
    )
    name = html.escape(found.dataset.summary.id)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_CSS}</style>'
        f"<h1>{name}</h1><table>{rows}</table><h2>Worth a look</h2><ul>{notes}</ul>{body}</html>\n"
    )
