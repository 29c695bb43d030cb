"""The fault bench: faults put into real trainings on purpose, and how well each tool names them."""
