# CPU paths: detected in C, selected once at import.
import os


def cpu_paths():
    """Names of the paths this machine can run, simplest first."""
    return [tsr_cpu_path_name(p).decode("ascii") for p in range(TSR_CPU_PATHS) if tsr_cpu_has(p)]


def select_cpu(str name):
    """Make all kernels use one path. For tests and benchmarks; not while other threads code.

    Raises
    ------
    ValueError
        If the name is unknown or this machine lacks the path.
    """
    cdef int path
    for path in range(TSR_CPU_PATHS):
        if tsr_cpu_path_name(path).decode("ascii") == name and tsr_cpu_select(path) == 0:
            return
    raise ValueError(f"CPU path {name!r} is not one of this machine's: {', '.join(cpu_paths())}")


def cpu_features():
    """Tell which CPU paths this machine has and which kernels are in use.

    Returns
    -------
    dict
        ``"available"``: list of path names; ``"selected"``: the path in use (the best, or the one
        that the environment variable ``TERSOR_CPU`` names); ``"kernels"``: for each area of code the
        path of its kernels, which is a simpler one where the selected has no kernel of its own.

    Examples
    --------
    >>> sorted(tersor.cpu_features())
    ['available', 'kernels', 'selected']
    """
    return {
        "available": cpu_paths(),
        "selected": tsr_cpu_path_name(tsr_cpu_selected()).decode("ascii"),
        "kernels": {
            "huffman": tsr_cpu_path_name(tsr_huffman_kernel_path()).decode("ascii"),
            "planes": tsr_cpu_path_name(tsr_planes_kernel_path()).decode("ascii"),
            "codes": tsr_cpu_path_name(tsr_code_kernel_path()).decode("ascii"),
            "prune": tsr_cpu_path_name(tsr_prune_kernel_path()).decode("ascii"),
        },
    }


def _select_at_import():
    wanted = os.environ.get("TERSOR_CPU")
    if not wanted:
        tsr_cpu_select(tsr_cpu_best())
        return
    try:
        select_cpu(wanted)
    except ValueError as error:
        raise ImportError(f"environment variable TERSOR_CPU: {error}") from None


_select_at_import()
