"""The readers of files, fed with damaged ones: by hypothesis in the tests, and by atheris, which
looks for inputs that reach new code (`make fuzz`)."""
