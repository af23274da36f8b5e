"""Which family an operator belongs to: what its time goes with."""

from __future__ import annotations

from advisor.devices.steps.step import Family

_NAMES: dict[Family, str] = {
    "layer": """
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution linear
        convolution_backward convolution_overrideable mkldnn_convolution _mkldnn_linear mkldnn_linear
        advisor.sparse_conv2d advisor.sparse_linear advisor.sparse_conv2d_grad_input advisor.sparse_conv2d_grad_weight
        advisor.sparse_linear_grad_input advisor.sparse_linear_grad_weight
    """,
    "product": """
        mm bmm addmm baddbmm matmul addbmm addmv mv dot einsum scaled_dot_product_attention
        _scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention_for_cpu_backward
        _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention _native_multi_head_attention
        _transformer_encoder_layer_fwd lstm gru
    """,
    "special": """
        exp exp2 expm1 log log2 log10 log1p sin cos tan tanh erf erfc sigmoid gelu silu mish softplus elu selu celu
        logsigmoid log_sigmoid_forward pow rsqrt sqrt gelu_backward silu_backward sigmoid_backward tanh_backward
        mish_backward softplus_backward elu_backward
    """,
    "norm": """
        batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training cudnn_batch_norm
        _batch_norm_impl_index layer_norm native_layer_norm group_norm native_group_norm instance_norm rms_norm
        _fused_rms_norm local_response_norm native_batch_norm_backward cudnn_batch_norm_backward
        native_layer_norm_backward native_group_norm_backward _fused_rms_norm_backward normalize
    """,
    "softmax": "softmax _softmax log_softmax _log_softmax _softmax_backward_data _log_softmax_backward_data",
    "reduction": """
        sum mean prod max min amax amin argmax argmin any all std var var_mean std_mean norm linalg_vector_norm
        cumsum logsumexp adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d
        _adaptive_avg_pool2d_backward adaptive_max_pool2d
    """,
    "pool": """
        max_pool1d max_pool2d max_pool3d max_pool2d_with_indices avg_pool1d avg_pool2d avg_pool3d
        max_pool2d_with_indices_backward avg_pool2d_backward advisor.max_pool2d advisor.avg_pool2d
    """,
    "resize": """
        upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d upsample_linear1d
        upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa grid_sampler grid_sampler_2d
        upsample_nearest2d_backward upsample_bilinear2d_backward
    """,
    "copy": """
        cat concat stack clone contiguous copy _to_copy to repeat pad constant_pad_nd reflection_pad2d
        replication_pad2d roll flip pixel_shuffle pixel_unshuffle channel_shuffle im2col unfold zeros zeros_like ones
        ones_like full full_like new_zeros new_ones new_full new_empty_strided empty empty_like fill zero hstack vstack
        reshape flatten masked_fill where tril triu slice_backward select_backward repeat_interleave expand_copy
        split_with_sizes_copy unsafe_split
    """,
    "index": """
        index index_select gather take embedding index_put index_add scatter scatter_add nonzero masked_select
        embedding_dense_backward masked_scatter index_copy sort topk
    """,
    "optimizer": """
        _foreach_add _foreach_mul _foreach_addcmul _foreach_addcdiv _foreach_lerp _foreach_div _foreach_sqrt
        _foreach_neg _foreach_sub _fused_adam _fused_adamw _fused_sgd
    """,
    "elementwise": """
        add sub rsub mul div neg abs square reciprocal clamp clamp_min clamp_max minimum maximum relu relu6 hardtanh
        hardswish hardsigmoid leaky_relu prelu _prelu_kernel threshold threshold_backward hardtanh_backward
        hardswish_backward hardsigmoid_backward leaky_relu_backward eq ne lt le gt ge logical_and logical_or
        logical_not bitwise_and bitwise_or bitwise_not lerp addcmul addcdiv floor ceil round sign glu dropout
        feature_dropout native_dropout native_dropout_backward bernoulli dropout_backward
    """,
}
_OF: dict[str, Family] = {name: family for family, names in _NAMES.items() for name in names.split()}


def family_of(target: str, *, view: bool = False) -> Family:
    """The family of an operator by its name, "other" where nobody said; `view`: it only looks at its argument."""
    return "view" if view else _OF.get(target, "other")
