"""Operators that multiply no matrices, with the reason why they count zero MACs."""

from __future__ import annotations

_REASONS = {
    "moves or makes data": """
        view reshape flatten unflatten permute transpose t mT contiguous clone detach detach alias expand expand_as
        repeat repeat_interleave tile squeeze unsqueeze cat concat stack split split_with_sizes chunk tensor_split
        unbind select slice narrow index index_select gather take take_along_dim scatter scatter_add index_put
        index_copy index_fill masked_fill masked_select masked_scatter where roll flip rot90 pad constant_pad_nd
        reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
        pixel_shuffle pixel_unshuffle channel_shuffle unfold im2col col2im movedim swapaxes as_strided copy to _to_copy
        type_as float half bfloat16 double lift_fresh lift_fresh_copy _unsafe_view _reshape_alias view_as reshape_as
        zeros ones full empty new_zeros new_ones new_full new_empty zeros_like ones_like full_like empty_like arange
        linspace eye tril triu scalar_tensor tensor fill zero _local_scalar_dense item meshgrid broadcast_to
        broadcast_tensors tril_indices triu_indices diagonal diag_embed hstack vstack dstack atleast_1d atleast_2d
        atleast_3d unsafe_split unsafe_chunk select_scatter slice_scatter empty_strided embedding one_hot
        embedding_bag _embedding_bag numpy_T moveaxis ravel resolve_conj resolve_neg _conj view_as_real
        view_as_complex real imag complex polar block_diag cartesian_prod combinations searchsorted bucketize
        uniform bernoulli rand rand_like randn randn_like randint random normal _pack_padded_sequence
        _pad_packed_sequence _fused_dropout native_dropout dropout feature_dropout alpha_dropout nonzero nonzero_numpy
        unique _unique2 unique_dim sym_size sym_numel sym_stride _assert_async _assert_tensor_metadata sort argsort topk
        kthvalue msort bincount histc unsafe_split_with_sizes split_copy expand_copy view_copy squeeze_copy
        unsqueeze_copy permute_copy transpose_copy slice_copy select_copy t_copy alias_copy detach_copy
        unbind_copy split_with_sizes_copy as_strided_copy _nested_tensor_from_mask _nested_view_from_buffer
        to_padded_tensor _add_batch_dim _remove_batch_dim
    """,
    "works element by element": """
        add sub rsub mul div floor_divide true_divide remainder fmod pow sqrt rsqrt exp exp2 expm1 log log2 log10
        log1p sin cos tan asin acos atan atan2 sinh cosh tanh asinh acosh atanh abs neg sign sgn signbit reciprocal
        square clamp clamp_min clamp_max clip minimum maximum fmin fmax floor ceil round trunc frac erf erfc erfinv
        sigmoid logit relu relu6 hardtanh hardswish hardsigmoid hardshrink softshrink tanhshrink leaky_relu elu selu
        celu gelu silu mish softplus softsign prelu _prelu_kernel rrelu rrelu_with_noise threshold glu logsigmoid
        log_sigmoid log_sigmoid_forward eq ne lt le gt ge logical_and logical_or logical_not logical_xor bitwise_and
        bitwise_or bitwise_not bitwise_xor __and__ __or__ __xor__ __lshift__ __rshift__ isnan isinf isfinite
        nan_to_num lerp addcmul addcdiv hypot ldexp multiply divide subtract negative absolute positive special_expit
        sinc deg2rad rad2deg copysign heaviside xlogy
    """,
    "reduces": """
        sum mean prod max min amax amin aminmax argmax argmin any all std var var_mean std_mean norm linalg_vector_norm
        frobenius_norm cumsum cumprod cummax cummin logcumsumexp logsumexp count_nonzero median nanmedian mode
        nansum nanmean equal dist cosine_similarity pairwise_distance _euclidean_dist trace
    """,
    "normalises": """
        batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training native_batch_norm cudnn_batch_norm
        _batch_norm_impl_index _batch_norm_no_update _batch_norm_with_update miopen_batch_norm layer_norm
        native_layer_norm group_norm native_group_norm instance_norm rms_norm _fused_rms_norm local_response_norm
        softmax _softmax log_softmax _log_softmax _safe_softmax softmin normalize weight_norm _weight_norm
        _weight_norm_interface
    """,
    "pools or interpolates": """
        max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
        avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
        _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
        fractional_max_pool2d lp_pool1d lp_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d
        _upsample_nearest_exact1d _upsample_nearest_exact2d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
        upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler grid_sampler_2d
        grid_sampler_3d affine_grid_generator interpolate
    """,
    "picks boxes": "nms roi_align roi_pool ps_roi_align ps_roi_pool",
}

REASONS: dict[str, str] = {name: reason for reason, names in _REASONS.items() for name in names.split()}


def reason(name: str) -> str | None:
    """Why the operator `name` (without namespace and overload, not in place) counts no MACs; None if nobody said."""
    return REASONS.get(name)
