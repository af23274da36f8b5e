"""Triton kernels of the `group` pattern: a gathered implicit matrix product per block of outputs.

Every kernel works on the storage of the sparse layers: `weight` (rows, KH, KW, BLOCK), `indptr` (blocks + 1,),
`inputs` (rows,). A tile is [pixels, channels]; pixels are counted over all images. Linear layers are images of one
pixel. What costs where: a gathered value is used BLOCK times, so blocks of 16 live on the bandwidth of the cache and
only wide ones on the tensor cores.

Rules that keep them right on a device and not only in the interpreter:
    - every side of a tile is a power of two and at least 16, the smallest that `tl.dot` takes for every type;
      narrower blocks and short lists are filled up with masked lanes.
    - offsets are 64 bit where WIDE says that 32 could overflow.
    - the last axis of a loaded tile is the one that lies together in memory (X_LAST, G_LAST, Y_LAST: channels),
      because that is the axis along which neighbouring threads read when the compiler cannot prove anything.
    - sizes of the layer are constants of the compiled kernel, sizes of the image are not.
"""

# mypy: ignore-errors
# Triton compiles these bodies; they are not Python that a type checker can follow.

import triton
import triton.language as tl


@triton.jit
def _activate(value, ACTIVATION: tl.constexpr):
    # `where`, not `maximum`: a NaN stays a NaN, as it does in torch.
    if ACTIVATION == "relu":
        value = tl.where(value < 0.0, 0.0, value)
    elif ACTIVATION == "relu6":
        value = tl.where(value < 0.0, 0.0, tl.where(value > 6.0, 6.0, value))
    elif ACTIVATION == "silu":
        value = value / (1.0 + tl.exp(-value))
    return value


@triton.jit
def _offsets(value, WIDE: tl.constexpr):
    if WIDE:
        value = value.to(tl.int64)
    return value


@triton.jit
def _load(pointer, pixels, channels, inside, kept, LAST: tl.constexpr):
    """A tile [pixels, channels] of an image; the caller says which axis lies together in memory."""
    if LAST:
        tile = tl.load(pointer + (pixels[:, None] + channels[None, :]), inside[:, None] & kept[None, :], other=0.0)
    else:
        tile = tl.load(pointer + (channels[:, None] + pixels[None, :]), kept[:, None] & inside[None, :], other=0.0)
        tile = tl.trans(tile)
    return tile


@triton.jit
def _product(left, right, total, PRECISION: tl.constexpr):
    if PRECISION == "widened":  # exact as well; Triton's interpreter multiplies the bits of bfloat16 as integers
        total = tl.dot(left.to(tl.float32), right.to(tl.float32), total, input_precision="ieee")
    else:
        total = tl.dot(left, right, total, input_precision=PRECISION)
    return total


@triton.jit(do_not_specialize=["blocks", "count", "pixel_bucket", "row_bucket"])
def forward(
    x,
    weight,
    indptr,
    inputs,
    bias,
    residual,
    y,
    blocks,
    count,
    height,
    width,
    out_height,
    out_width,
    xn,
    xc,
    xh,
    xw,
    yn,
    yc,
    yh,
    yw,
    rn,
    rc,
    rh,
    rw,
    pixel_bucket,
    row_bucket,
    BLOCK: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    ACTIVATION: tl.constexpr,
    X_LAST: tl.constexpr,
    Y_LAST: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BN: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    """y[n, b * BLOCK + j, p] = act(sum over rows r of b, taps t: weight[r, t, j] * x[n, inputs[r], p at t] + ...)."""
    SLICES: tl.constexpr = (BLOCK + BN - 1) // BN
    TAPS: tl.constexpr = KH * KW
    # Neighbouring programs share their pixels and differ in the block, so that what they gather is in the cache.
    program = tl.program_id(0)
    part = program % (blocks * SLICES)
    tile = program // (blocks * SLICES)
    block = part // SLICES
    column = (part % SLICES) * BN + tl.arange(0, BN)
    wanted = column < BLOCK

    at = tile * BM + tl.arange(0, BM)
    valid = at < count
    ow = at % out_width
    rest = at // out_width
    oh = rest % out_height
    image = rest // out_height
    ih0 = oh * SH - PH
    iw0 = ow * SW - PW
    corner = _offsets(image, WIDE) * xn + _offsets(ih0, WIDE) * xh + _offsets(iw0, WIDE) * xw

    low = tl.load(indptr + block)
    high = tl.load(indptr + block + 1)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    # The taps of a chunk of inputs follow each other: what they read overlaps. One flat loop is what gets pipelined.
    for step in tl.range(0, tl.cdiv(high - low, BK) * TAPS):
        tap = step % TAPS
        kh = tap // KW
        kw = tap % KW
        row = low + (step // TAPS) * BK + tl.arange(0, BK)
        kept = row < high
        channel = _offsets(tl.load(inputs + row, kept, other=0), WIDE)
        place = (_offsets(row, WIDE) * TAPS + tap)[:, None] * BLOCK + column[None, :]
        values = tl.load(weight + place, kept[:, None] & wanted[None, :], other=0.0)
        ih = ih0 + kh * DH
        iw = iw0 + kw * DW
        inside = valid & (ih >= 0) & (ih < height) & (iw >= 0) & (iw < width)
        shift = _offsets(kh * DH, WIDE) * xh + _offsets(kw * DW, WIDE) * xw
        gathered = _load(x, corner + shift, channel * xc, inside, kept, X_LAST)
        total = _product(gathered, values, total, PRECISION)

    output = _offsets(block * BLOCK + column, WIDE)
    if bias is not None:
        total += tl.load(bias + output, wanted, other=0.0).to(tl.float32)[None, :]
    if residual is not None:
        pixel = _offsets(image, WIDE) * rn + _offsets(oh, WIDE) * rh + _offsets(ow, WIDE) * rw
        total += _load(residual, pixel, output * rc, valid, wanted, Y_LAST).to(tl.float32)
    total = _activate(total, ACTIVATION).to(y.dtype.element_ty)
    pixel = _offsets(image, WIDE) * yn + _offsets(oh, WIDE) * yh + _offsets(ow, WIDE) * yw
    if Y_LAST:
        tl.store(y + (pixel[:, None] + (output * yc)[None, :]), total, valid[:, None] & wanted[None, :])
    else:
        tl.store(y + ((output * yc)[:, None] + pixel[None, :]), tl.trans(total), wanted[:, None] & valid[None, :])


@triton.jit
def _first_tap(phase, K: tl.constexpr, S: tl.constexpr, P: tl.constexpr, D: tl.constexpr):
    """The first tap through which inputs of this phase (position modulo stride) reach an output; K where none does."""
    first = K
    for back in tl.static_range(K):
        first = tl.where((phase + P - (K - 1 - back) * D) % S == 0, K - 1 - back, first)
    return first


@triton.jit(do_not_specialize=["blocks", "count", "row_splits", "pixel_bucket", "row_bucket"])
def grad_input(
    grad,
    weight,
    indptr,
    inputs,
    out,
    blocks,
    count,
    phase_height,
    phase_width,
    height,
    width,
    out_height,
    out_width,
    gn,
    gc,
    gh,
    gw,
    on,
    oc,
    oh_stride,
    ow_stride,
    row_splits,
    pixel_bucket,
    row_bucket,
    BLOCK: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    STEP_H: tl.constexpr,
    STEP_W: tl.constexpr,
    BY_ROW: tl.constexpr,
    G_LAST: tl.constexpr,
    OUT_LAST: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BN: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    """out[n, inputs[r], p] += sum over taps t, outputs j of r's block: weight[r, t, j] * grad[n, j, p reached by t].

    Axis 1 of the grid counts phases, the positions of an input modulo the stride: inputs of one phase are reached by
    the same taps, so that none is tried in vain. `out` is float32 and zero; blocks that read the same input add to it.
    BY_ROW: `out` is (rows, n, h, w) instead and each row is written once, for who must have the same bits each time.
    """
    SLICES: tl.constexpr = (BLOCK + BN - 1) // BN
    TAPS: tl.constexpr = KH * KW
    program = tl.program_id(0)
    split = program % row_splits
    block = (program // row_splits) % blocks
    tile = program // (row_splits * blocks)
    phase = tl.program_id(1)
    phase_h = phase // SW
    phase_w = phase % SW

    at = tile * BM + tl.arange(0, BM)
    rest = at // phase_width
    ih = (rest % phase_height) * SH + phase_h
    iw = (at % phase_width) * SW + phase_w
    image = rest // phase_height
    valid = (at < count) & (ih < height) & (iw < width)
    kh0 = _first_tap(phase_h, KH, SH, PH, DH)
    kw0 = _first_tap(phase_w, KW, SW, PW, DW)
    taps_w = (KW - kw0 + STEP_W - 1) // STEP_W
    taps = ((KH - kh0 + STEP_H - 1) // STEP_H) * taps_w
    base = _offsets(image, WIDE) * gn
    pixel = _offsets(image, WIDE) * on + _offsets(ih, WIDE) * oh_stride + _offsets(iw, WIDE) * ow_stride

    low = tl.load(indptr + block)
    high = tl.load(indptr + block + 1)
    for start in tl.range(low + split * BK, high, row_splits * BK):
        row = start + tl.arange(0, BK)
        kept = row < high
        total = tl.zeros((BM, BK), dtype=tl.float32)
        for step in tl.range(0, taps * SLICES):
            turn = step // SLICES
            kh = kh0 + (turn // taps_w) * STEP_H
            kw = kw0 + (turn % taps_w) * STEP_W
            column = (step % SLICES) * BN + tl.arange(0, BN)
            wanted = column < BLOCK
            place = (_offsets(row, WIDE) * TAPS + kh * KW + kw)[:, None] * BLOCK + column[None, :]
            values = tl.load(weight + place, kept[:, None] & wanted[None, :], other=0.0)
            # Exact divisions: the taps of a phase are those for which they are.
            oh = (ih + PH - kh * DH) // SH
            ow = (iw + PW - kw * DW) // SW
            inside = valid & (ih + PH >= kh * DH) & (oh < out_height) & (iw + PW >= kw * DW) & (ow < out_width)
            source = base + _offsets(oh, WIDE) * gh + _offsets(ow, WIDE) * gw
            output = _offsets(block * BLOCK + column, WIDE) * gc
            given = _load(grad, source, output, inside, wanted, G_LAST)
            total = _product(given, tl.trans(values), total, PRECISION)
        if BY_ROW:
            channel = _offsets(row, WIDE) * oc
            tl.store(out + (channel[:, None] + pixel[None, :]), tl.trans(total), kept[:, None] & valid[None, :])
        elif taps > 0:
            channel = _offsets(tl.load(inputs + row, kept, other=0), WIDE) * oc
            if OUT_LAST:
                places = out + (pixel[:, None] + channel[None, :])
                tl.atomic_add(places, total, valid[:, None] & kept[None, :], sem="relaxed")
            else:
                places = out + (channel[:, None] + pixel[None, :])
                tl.atomic_add(places, tl.trans(total), kept[:, None] & valid[None, :], sem="relaxed")


@triton.jit(do_not_specialize=["out_split", "row_splits", "count", "pixel_bucket", "row_bucket"])
def grad_weight(
    grad,
    x,
    indptr,
    inputs,
    out,
    out_split,
    row_splits,
    count,
    height,
    width,
    out_height,
    out_width,
    gn,
    gc,
    gh,
    gw,
    xn,
    xc,
    xh,
    xw,
    pixel_bucket,
    row_bucket,
    BLOCK: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    SH: tl.constexpr,
    SW: tl.constexpr,
    PH: tl.constexpr,
    PW: tl.constexpr,
    DH: tl.constexpr,
    DW: tl.constexpr,
    G_LAST: tl.constexpr,
    X_LAST: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    BN: tl.constexpr,
    BM: tl.constexpr,
    BK: tl.constexpr,
):
    """out[s, r, t, j] = sum over the pixels p of share s: x[n, inputs[r], p at t] * grad[n, j of r's block, p].

    The grid is blocks with their slices, taps with `row_splits` shares of a block's rows, and shares of the pixels.
    Shares are summed by the caller, in order, so that the same bits come out each time.
    """
    SLICES: tl.constexpr = (BLOCK + BN - 1) // BN
    TAPS: tl.constexpr = KH * KW
    block = tl.program_id(0) // SLICES
    column = (tl.program_id(0) % SLICES) * BN + tl.arange(0, BN)
    wanted = column < BLOCK
    tap = tl.program_id(1) % TAPS
    down = (tap // KW) * DH - PH
    right = (tap % KW) * DW - PW
    share = tl.program_id(2)
    tiles = tl.cdiv(tl.cdiv(count, BM), tl.num_programs(2))
    output = _offsets(block * BLOCK + column, WIDE) * gc

    low = tl.load(indptr + block)
    high = tl.load(indptr + block + 1)
    for start in tl.range(low + (tl.program_id(1) // TAPS) * BK, high, row_splits * BK):
        row = start + tl.arange(0, BK)
        kept = row < high
        channel = _offsets(tl.load(inputs + row, kept, other=0), WIDE) * xc
        total = tl.zeros((BK, BN), dtype=tl.float32)
        for tile in tl.range(share * tiles, (share + 1) * tiles):
            at = tile * BM + tl.arange(0, BM)
            valid = at < count
            ow = at % out_width
            rest = at // out_width
            oh = rest % out_height
            image = _offsets(rest // out_height, WIDE)
            ih = oh * SH + down
            iw = ow * SW + right
            inside = valid & (ih >= 0) & (ih < height) & (iw >= 0) & (iw < width)
            source = image * xn + _offsets(ih, WIDE) * xh + _offsets(iw, WIDE) * xw
            gathered = _load(x, source, channel, inside, kept, X_LAST)
            pixel = image * gn + _offsets(oh, WIDE) * gh + _offsets(ow, WIDE) * gw
            given = _load(grad, pixel, output, valid, wanted, G_LAST)
            total = _product(tl.trans(gathered), given, total, PRECISION)
        place = (_offsets(row, WIDE) * TAPS + tap)[:, None] * BLOCK + column[None, :]
        target = out + _offsets(share, WIDE) * out_split
        tl.store(target + place, total.to(out.dtype.element_ty), kept[:, None] & wanted[None, :])
