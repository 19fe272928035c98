"""Where pictures come from and how training patches are cut from them."""
