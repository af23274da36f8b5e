"""What measuring on a CUDA device adds: the clocks' state, a cold L2, launches apart, number formats, and its kernels.

    with gpu_form(module, inputs, number="fp16", channels_last=True) as form:   # forms
        before = clock_state("cuda")                                            # clocks
        timing = time_graph(form.call, "cuda")                                  # graphs: eager, graph, launches
        clock = FlushingClock(clock_for("cuda"), L2Flush("cuda"))               # flush: for `time_interleaved`
        notes = clock_notes(before, clock_state("cuda"))
    gpu_ways(facts_of("cuda"), "fp16")                                          # ways: what has a kernel, and why not

Nothing here loads CUDA before it is called.
"""
