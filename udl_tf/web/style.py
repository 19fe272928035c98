"""Appearance of the page: fonts of the system, few colours, readable in light and dark."""

from gradio.themes import Default
from gradio.themes.utils import colors

THEME = Default(
    primary_hue=colors.teal,
    neutral_hue=colors.slate,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

CSS = """
footer { display: none !important; }
#introduction h1 { font-size: 1.6rem; margin: 0 0 0.4rem; }
.note { color: var(--neutral-500); font-size: 0.9rem; margin: 0.2rem 0; }
.dark .note { color: var(--neutral-400); }
.caution, .failure { border-left: 4px solid #d97706; padding-left: 0.6rem; margin: 0.4rem 0; }
.failure { border-color: #dc2626; }
#start { background: #0f766e; }
#start:disabled { opacity: 0.5; }
#status progress { width: 100%; height: 0.6rem; appearance: none; border: none; }
#status progress { border-radius: 0.3rem; background: var(--neutral-200); overflow: hidden; }
.dark #status progress { background: var(--neutral-700); }
#status progress::-webkit-progress-bar { background: transparent; }
#status progress::-webkit-progress-value { background: #0d9488; }
#status progress::-moz-progress-bar { background: #0d9488; }
#map img, #reliable img { max-height: 640px; cursor: crosshair; }
.scale { max-width: 24rem; }
.scale img { width: 100%; height: 0.9rem; display: block; }
.scale div { display: flex; justify-content: space-between; font-size: 0.85rem; }
#inspector { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: 0.8rem; }
#pixel table { border: none; border-collapse: collapse; margin: 0.4rem 0; }
#pixel th, #pixel td { border: none; text-align: left; padding: 0.15rem 1.2rem 0.15rem 0; }
#pixel td { font-variant-numeric: tabular-nums; }
.near { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.near img { image-rendering: pixelated; width: 264px; max-width: 48%; }
"""
