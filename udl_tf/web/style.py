"""Appearance of the page: fonts of the system, few colours, readable in light and dark."""

import gradio as gr

THEME = gr.themes.Default(
    primary_hue=gr.themes.colors.teal,
    neutral_hue=gr.themes.colors.slate,
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
)

CSS = """
footer { display: none !important; }
#introduction h1 { font-size: 1.6rem; margin: 0 0 0.4rem; }
.note { color: var(--body-text-color-subdued); font-size: 0.9rem; margin: 0.2rem 0; }
.caution { border-left: 4px solid #d97706; padding-left: 0.6rem; margin: 0.4rem 0; }
.failure { border-left: 4px solid #dc2626; padding-left: 0.6rem; margin: 0.4rem 0; }
#status progress { width: 100%; height: 0.8rem; accent-color: #0d9488; }
#map img, #believed img { max-height: 640px; cursor: crosshair; }
.scale { max-width: 24rem; }
.scale img { width: 100%; height: 0.9rem; display: block; }
.scale div { display: flex; justify-content: space-between; font-size: 0.85rem; }
#pixel table { border-collapse: collapse; margin: 0.4rem 0; }
#pixel th, #pixel td { text-align: left; padding: 0.15rem 1rem 0.15rem 0; }
#pixel td { font-variant-numeric: tabular-nums; }
.near { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.near img { image-rendering: pixelated; width: 264px; max-width: 48%; }
#inspector { padding: 0.8rem; }
"""
