"""What a finished run says of itself: in the terminal, as Markdown, and as outcome.json."""
