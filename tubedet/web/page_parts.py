"""What the page says and how it looks: texts, styles, and what the browser does by itself."""

from __future__ import annotations

import html
from collections.abc import Sequence

TITLE = "Who does what, when"
SILENCE = '<div role="status" aria-live="polite"></div>'
CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
/* Long names do not make the page wider than a phone. */
#status p, #intro, #chosen label, #preview figcaption { overflow-wrap: anywhere; }
#intro h1 { font-size: 1.7rem; font-weight: 600; margin: 0.4rem 0 0.2rem; }
#intro p, .hint { opacity: 0.75; margin: 0; }
#model summary { cursor: pointer; overflow-wrap: anywhere; }
#model ul { columns: 11rem; margin: 0.4rem 0 0; padding-left: 1.2rem; }
#timeline [data-start]:focus-visible { stroke: currentColor; stroke-width: 2; outline: none; }
#preview > div { padding: 0; }
#preview .films { display: grid; gap: 0.6rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 10rem), 1fr)); }
#preview figure { margin: 0; min-width: 0; }
#preview video { width: 100%; max-height: 220px; background: #000; border-radius: 8px; }
/* The field above names a single video. */
#preview figure:only-child:has(video:not([hidden])) figcaption { display: none; }
/* The label would lie on those of the persons. */
#annotated:has(video) > label[data-testid="block-label"] { opacity: 0; }
#preview figcaption { font-size: 0.85rem; opacity: 0.75; }
#progress:has(> [data-testid="status-tracker"]:not(.hide)) { min-height: 3.5rem; }
/* White on a white page otherwise. */
input[type="range"]::-webkit-slider-thumb { box-shadow: 0 0 0 2px var(--slider-color) !important; }
input[type="range"]::-moz-range-thumb { box-shadow: 0 0 0 2px var(--slider-color) !important; }
@media (max-width: 640px) { #annotated { height: auto !important; min-height: 14rem; } }
#status .error, #status .done { padding: 0.6rem 0.9rem; border-radius: 8px; margin: 0; }
#status .error { background: #fdecea; color: #8c1d18; border: 1px solid #f2b8b5; }
#status .done { background: #e8f4ec; color: #14532d; border: 1px solid #b6dfc3; }
.dark #status .error { background: #4a1512; color: #ffd9d6; border-color: #8c1d18; }
.dark #status .done { background: #12331f; color: #c9efd6; border-color: #2c6b43; }
#timeline-box { padding: 0.8rem 1rem; border: 1px solid var(--block-border-color);
  border-radius: var(--block-radius); background: var(--block-background-fill);
  overflow-x: auto; contain: inline-size; }  /* a phone scrolls the timeline, not the page */
#timeline-box svg { min-width: 640px; }
#timeline-box h2 { font-size: 1rem; font-weight: 600; margin: 0 0 0.4rem; }
#timeline-box h2 .hint { font-weight: 400; font-size: 0.85rem; margin-left: 0.6rem; }
#status .html-container, #timeline .html-container { padding: 0; }
"""

# The secret of a tab lives as long as the tab, and no other site or tab can read it. Where a
# browser stores nothing, it lives until the next reload.
_TAB = """(() => {
  if (window.tubedetTab) return window.tubedetTab;
  let tab = null;
  try { tab = sessionStorage.getItem("tubedet"); } catch {}
  if (!/^[0-9a-f]{32}$/.test(tab)) {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    tab = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    try { sessionStorage.setItem("tubedet", tab); } catch {}
  }
  return window.tubedetTab = tab;
})()"""
# The last value of these functions' fields is the secret.
RUN_JS = f"(files, threshold, rate, smoothing) => [files, threshold, rate, smoothing, {_TAB}]"
SHOW_JS = f"(number) => [number, {_TAB}]"
RESTORE_JS = f"() => [{_TAB}]"
# gradio tells of a slider that the mouse let go, and of nothing that the keyboard does.
PAGE_JS = """() => {
  const release = (event) => event.target.closest?.("#threshold, #smoothing")
    ?.querySelector("input[type=range]")
    .dispatchEvent(new PointerEvent("pointerup", {bubbles: true}));
  document.addEventListener("keyup", (event) => {
    const moves = /^(Arrow|Page|Home$|End$)/.test(event.key);
    if (event.target.type === "range" && moves) release(event);
  });
  document.addEventListener("change", (event) => {
    if (event.target.type === "number") release(event);
  });
}"""
# The browser plays the uploads as they are; the server does nothing for it.
PREVIEW_JS = """(files) => {
  const coded = (character) => `&#${character.codePointAt(0)};`;
  const safe = (text) => String(text).replace(/[^\\w .,:/?=%~+-]/gu, coded);
  const films = (files || []).filter((file) => file.url).map((file) => {
    const name = safe(file.orig_name || file.path.split("/").pop());
    return `<figure><video src="${safe(file.url)}" controls playsinline preload="metadata"
      aria-label="Preview of ${name}" onerror="this.hidden = true;
      this.nextElementSibling.lastElementChild.hidden = false"></video><figcaption>${name}<span
      hidden>: this browser cannot play it. The page takes it all the same.</span></figcaption>
      </figure>`;
  });
  return films.length ? `<div class="films">${films.join("")}</div>` : "";
}"""


def message(kind: str, text: str) -> str:
    """Return the HTML of a message, which screen readers say.

    Args:
        kind: "done" or "error".
        text: plain.
    """
    said = f'<p class="{kind}">{html.escape(text)}</p>'
    return f'<div role="status" aria-live="polite">{said}</div>'


def timeline_box(content: str = "") -> str:
    """Return the HTML around a timeline.

    Args:
        content: HTML of the timeline; empty: there is none yet.
    """
    hint = ""
    content = content or '<p class="hint">Actions of each person over time appear here.</p>'
    if "<svg" in content:
        hint = (
            '<span class="hint">Click on a bar to see that moment; strong colours are sure.</span>'
        )
    return f'<div id="timeline-box"><h2>Timeline{hint}</h2>{content}</div>'


def model_box(name: str, action_names: Sequence[str]) -> str:
    """Return the HTML that names the model and its actions.

    Args:
        name: of the model; empty: it has none.
        action_names: all of them.
    """
    names = "".join(f"<li>{html.escape(action)}</li>" for action in action_names)
    model = f"Model {html.escape(name)}: " if name else "The model knows "
    return (
        f"<details><summary>{model}{len(action_names)} actions</summary><ul>{names}</ul></details>"
    )


def introduction(max_megabytes: float, max_seconds: float, keep_seconds: float) -> str:
    """Return the HTML of the first lines.

    Args:
        max_megabytes: of an upload.
        max_seconds: of a video.
        keep_seconds: age at which files are deleted.
    """
    return (
        f"<h1>{TITLE}</h1><p>Drop videos with people in them and press the button. You get each "
        "video with everybody's actions written on it, a timeline of them, and the detections as "
        f"files. Up to {max_megabytes:g} MB and {max_seconds:g} seconds each; nobody "
        "else sees your files, which are deleted after "
        f"{keep_seconds / 60:g} minutes.</p>"
    )
