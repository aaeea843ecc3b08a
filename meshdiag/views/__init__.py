"""Views: a diagnosis as text, JSON or Markdown. Values in, text out; no I/O."""
