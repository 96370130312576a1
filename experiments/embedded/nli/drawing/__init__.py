"""Statements at random (`draw_...`), and statements near a given one (`near_...`) to stand beside it."""
