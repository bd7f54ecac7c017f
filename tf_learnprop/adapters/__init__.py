"""Our maps in the form that other libraries' metrics ask for."""
