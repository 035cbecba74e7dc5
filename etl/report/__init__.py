"""The report, the viewer and the console: everything of a store that people look at."""
