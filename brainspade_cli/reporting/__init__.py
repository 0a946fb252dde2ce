"""What a dataset says about itself: its card, its Croissant description, and the report that `preview` makes."""
