"""How fast charloom is, beside loops as tutorials write them."""
