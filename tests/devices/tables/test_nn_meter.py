import pytest

from advisor.devices.tables.convert import kind_of
from advisor.devices.tables.nn_meter import from_nn_meter
from advisor.errors import ProfileError

HEAD = "kernel_type,HW,CIN,COUT,KERNEL_SIZE,STRIDES,latency\n"
ROWS = (
    "conv-bn-relu,56,64,128,3,2,4.25\ndwconv-bn-relu6,28,96,96,5,1,0.75\nfc,,512,1000,,,1.5\nmaxpool,56,64,,3,2,0.2\n"
)


def test_kernels_become_executions() -> None:
    made = from_nn_meter(HEAD + ROWS, "phone.csv", machine="Cortex-A76", threads=1)
    assert list(made.measurements) == [
        "conv2d dense in=1x64x56x56 weight=128x64x3x3 stride=2x2 padding=1x1 dilation=1x1 bias",
        "conv2d dense in=1x96x28x28 weight=96x1x5x5 stride=1x1 padding=2x2 dilation=1x1 groups=96 bias",
        "linear dense in=1x512 weight=1000x512 bias",
    ]
    assert [m.median_ms for m in made.measurements.values()] == [4.25, 0.75, 1.5]
    assert made.machine is not None
    assert made.machine.name == "Cortex-A76"
    assert any("maxpool 1" in note for note in made.notes)


def test_the_type_may_stand_in_the_model_path_or_the_files_name() -> None:
    saved = "model_path,HW,CIN,COUT,KERNEL_SIZE,STRIDES,feature_0,feature_1,latency\n"
    row = "{},14,98,120,3,1,20.7,0.1,42.001 +- 1.0\n"
    for path, file in (("conv-bn-relu_prior_3K2xQ1", "x.csv"), ("anything", "conv-bn-relu_prior.csv")):
        made = from_nn_meter(saved + row.format(path), file)
        assert next(iter(made.measurements.values())).median_ms == pytest.approx(42.001)
    assert kind_of(saved, "x") == "nn-meter"


def test_names_in_small_letters_and_groups() -> None:
    text = "kernel,input_h,input_w,cin,cout,ks,stride,groups,ms\nconv,27,29,64,192,5,1,2,3\n"
    execution = next(iter(from_nn_meter(text, "x.csv").measurements.values())).execution
    assert (execution.input_shape, execution.weight_shape, execution.groups) == ((1, 64, 27, 29), (192, 32, 5, 5), 2)


def test_equal_work_is_averaged_and_tells_the_noise() -> None:
    rows = "".join(f"conv-bn,{hw},8,8,3,1,{hw * f}\n" for hw in range(4, 16) for f in (0.95, 1.05))
    made = from_nn_meter(HEAD + rows, "x.csv")
    assert len(made.measurements) == 12
    first = next(iter(made.measurements.values()))
    assert first.median_ms == pytest.approx(4.0)
    assert first.repeats == 2
    assert first.high_ms / first.median_ms == pytest.approx(1.10, abs=0.02)
    assert any("differs by 7" in note for note in made.notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "convolver,1,1,1,1,1,1\n", "row 2, column kernel_type: unknown kernel 'convolver'"),
        (HEAD + "conv,0,64,64,3,1,1\n", "row 2, column HW: got '0', expected a whole number from 1 on"),
        (HEAD + "conv,56,64,64,,1,1\n", "row 2, column KERNEL_SIZE: got ''"),
        (HEAD + "conv,56,64,64,3,1,fast\n", "row 2, column latency: got 'fast', expected a time in ms above 0"),
        (HEAD + "dwconv,56,64,100,3,1,1\n", "row 2, column COUT: got '100'"),
        (HEAD + "maxpool,56,64,,3,2,1\n", "no rows of convolutions"),
        ("HW,CIN,latency\n1,1,1\n", "column COUT: the header lacks it"),
        ("kernel,CIN,COUT,latency\nconv,3,4,1\n", "row 2, column HW: the table lacks it, expected it for conv"),
        ("HW,CIN,COUT,KERNEL_SIZE,STRIDES,latency\n7,8,8,1,1,1\n", "name it in a column kernel_type"),
        ("kernel,batch,CIN,COUT,latency\nfc,1,3,4,1\nfc,2,3,4,1\n", "rows of batch sizes [1, 2], expected one"),
    ],
)
def test_a_bad_row_is_named(text: str, message: str) -> None:
    with pytest.raises(ProfileError) as caught:
        from_nn_meter(text, "bad.csv")
    assert "bad.csv" in str(caught.value)
    assert message in str(caught.value)
