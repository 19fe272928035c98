"""Private helpers without knowledge of images: files, processes, hardware, the command line."""
