"""The only place that knows the C side: declarations of csrc/fastreg.h and team.h."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "team.h" nogil:
    enum:
        FR_MAX_THREADS
        FR_SERIAL_BYTES
        FR_SIZE_CLASSES

    ctypedef void (*fr_task)(const void *job, Py_ssize_t k) noexcept
    ctypedef struct fr_class_report:
        int64_t shared, alone, taken, spent, saved, debt, wait
    ctypedef struct fr_team_report:
        int helpers, refused
        fr_class_report classes[8]
    void fr_team_init() noexcept
    int fr_team_built() noexcept
    void fr_team_limits(int threads, int64_t awake) noexcept
    void fr_team_cores(const char *usable, int n) noexcept
    void fr_run_tasks(
        fr_task task, const void *job, Py_ssize_t n, Py_ssize_t nbytes, int asked,
        int backwards) noexcept
    void fr_team_tell(fr_team_report *report) noexcept

cdef extern from "fastreg.h" nogil:
    enum:
        FR_RULE_COUNT
        FR_RULE_lamb
        FR_TORCH
        FR_KERAS
        FR_MAX_SLOTS
        FR_DTYPE_COUNT
        FR_FLOAT32
        FR_FLOAT64
        FR_BFLOAT16
        FR_FLOAT16
        FR_MASK_GROUP
        FR_CODED_BLOCK
        FR_PANEL_COLS
        FR_PANEL_ROWS

    ctypedef struct fr_hyper:
        double clip_value, compat, coupled, lambda_l1, lambda_prox, single
    ctypedef struct fr_step:
        double average, one_minus_average
    ctypedef struct fr_span:
        void *param
        const void *grad
        void *slot[4]
        void *average
        Py_ssize_t n
    ctypedef void (*fr_update)(const fr_span *, const fr_step *) noexcept
    ctypedef void (*fr_measure)(
        const fr_span *, const fr_step *, const double *units, int again, double *squares) noexcept
    ctypedef struct fr_rule:
        const char *name
        int slots, watched
        const char *kinds
    bint fr_is_plain(double mean, double inv_std, int is_float)
    bint fr_plain_sums(double sum, double dot, int is_float)
    double fr_power(double x, double y) noexcept
    double fr_missing_power(double x, double y) noexcept
    double fr_cos(double x) noexcept
    double fr_sin(double x) noexcept
    void fr_prepare(
        fr_step *step, int rule, const fr_hyper *hyper, double t, double scale, double unit, int penalised,
        double *memory) noexcept
    void fr_trust(
        fr_step *own, const fr_step *step, int rule, double weight, double move) noexcept
    const fr_rule fr_rules[]
    const char *fr_hyper_names[]
    const int fr_hyper_count

    ctypedef struct fr_mask:
        uint64_t key, call, threshold
        double scale, kept_shift, dropped_shift
    ctypedef struct fr_draws:
        fr_mask mask
        uint64_t first
        int16_t *scale[4]
    ctypedef void (*fr_narrow)(
        const fr_span *, const fr_step *, const fr_draws *) noexcept
    ctypedef void (*fr_measure_narrow)(
        const fr_span *, const fr_step *, const fr_draws *, double *squares) noexcept
    ctypedef void (*fr_coded_update)(
        const fr_span *, const fr_step *, const fr_draws *, int rule) noexcept
    ctypedef void (*fr_encode_slot)(
        uint8_t *to, int16_t *scales, const float *from_, Py_ssize_t n, int unsign) noexcept
    ctypedef void (*fr_decode_slot)(
        float *to, const uint8_t *from_, const int16_t *scales, Py_ssize_t n,
        int unsign) noexcept
    ctypedef struct fr_half:
        int rule, type, narrow
        float *master
    ctypedef void (*fr_half_update)(
        const fr_span *, const fr_step *, const fr_draws *, const fr_half *) noexcept
    ctypedef void (*fr_half_measure)(
        const fr_span *, const fr_step *, const fr_draws *, const fr_half *,
        double *squares) noexcept
    ctypedef double (*fr_half_sum)(
        const void *x, Py_ssize_t n, double number, int sum, int type) noexcept
    ctypedef void (*fr_half_nearest)(
        void *to, const float *from_, Py_ssize_t n, int type) noexcept
    ctypedef void (*fr_dropout)(
        void *y, const void *x, Py_ssize_t n, uint64_t first, const fr_mask *mask,
        int stream) noexcept

    ctypedef struct fr_runs:
        Py_ssize_t repeat, cols, length
    ctypedef void (*fr_scale_runs)(
        void *y, const void *x, Py_ssize_t n, Py_ssize_t first, const void *factors, fr_runs runs,
        int stream) noexcept

    ctypedef void (*fr_philox)(
        uint32_t *words, const uint32_t *counter, uint64_t key) noexcept
    ctypedef void (*fr_normals)(
        float *first, float *second, const uint32_t *radii, const uint32_t *angles,
        int n) noexcept

    ctypedef struct fr_panel:
        Py_ssize_t rows, cols, stride, run
    ctypedef struct fr_channels:
        const double *mean
        const double *inv_std
        const double *gamma
        const double *beta
    ctypedef void (*fr_moments)(
        double *mean, double *m2, const void *x, fr_panel, const void *origin) noexcept
    ctypedef void (*fr_statistics)(
        double *statistics, double *mean, double *m2, const void *origin, double epsilon,
        Py_ssize_t rows, Py_ssize_t chunk_rows, Py_ssize_t cols) noexcept
    ctypedef void (*fr_normalize)(
        void *y, const void *x, fr_panel, fr_channels, int stream) noexcept
    ctypedef void (*fr_norm_sums)(
        double *dscale, double *dbeta, const void *dy, const void *x, fr_panel,
        const double *mean) noexcept
    ctypedef void (*fr_norm_backward)(
        void *dx, const void *dy, const void *x, fr_panel, fr_channels,
        const double *mean_dy, const double *slope, int stream) noexcept
    void fr_gradients(
        double *gradients, double *dscale, double *dbeta, const double *inv_std, double share,
        Py_ssize_t chunks, Py_ssize_t cols) noexcept
    void fr_blend(
        double *blend, const double *before, const double *now, double keep,
        Py_ssize_t cols) noexcept

    ctypedef struct fr_gate:
        int relu
        const fr_mask *mask
    ctypedef void (*fr_bias_gate)(
        void *y, const void *bias, fr_panel, uint64_t first, const fr_gate *) noexcept
    ctypedef void (*fr_norm_gate)(
        void *y, const void *x, fr_panel, fr_channels, uint64_t first,
        const fr_gate *) noexcept
    ctypedef void (*fr_gate_sums)(
        void *dx, double *dbias, const void *dy, const void *y, fr_panel,
        double scale) noexcept
    ctypedef void (*fr_gate_slopes)(
        void *dx, void *dbias, const void *dy, const void *y, fr_panel, Py_ssize_t chunk_rows,
        double scale) noexcept
    ctypedef void (*fr_norm_gate_sums)(
        void *dx, double *dscale, double *dbeta, const void *dy, const void *x, const void *y,
        fr_panel, const double *mean, double scale) noexcept
    ctypedef void (*fr_norm_gate_columns)(
        void *y, double *statistics, Py_ssize_t width, const void *x, fr_panel,
        Py_ssize_t chunk_rows, fr_channels, double epsilon, uint64_t first,
        const fr_gate *) noexcept
    ctypedef void (*fr_norm_gate_slopes)(
        void *dx, double *gradients, Py_ssize_t width, void *dbias, const void *dy, const void *x,
        const void *y, fr_panel, Py_ssize_t chunk_rows, fr_channels, double scale) noexcept
    ctypedef void (*fr_fold_sums)(
        void *total, double *sums, Py_ssize_t chunks, Py_ssize_t cols) noexcept
    ctypedef void (*fr_cross_entropy)(
        void *dz, double *loss, const void *z, const int64_t *labels, const double *shares,
        double share, double smoothing, Py_ssize_t rows, Py_ssize_t cols) noexcept
    ctypedef struct fr_product:
        void *c
        const void *a
        const void *b
        const void *bias
        Py_ssize_t rows, cols, depth
        Py_ssize_t c_row, a_row, a_col, b_row, b_col
        int relu, turned, shared_b
        Py_ssize_t col_block, tasks, packs, cost
        size_t packed_bytes
        void *packed
    ctypedef void (*fr_plan_product)(fr_product *product, int threads) noexcept
    ctypedef void (*fr_product_task)(const void *product, Py_ssize_t k) noexcept
    ctypedef void (*fr_point_loss)(
        void *dz, double *loss, const void *z, const void *t, const double *shares, double factor,
        double a, double b, Py_ssize_t rows, Py_ssize_t cols) noexcept
    enum:
        FR_LOSS_binary
        FR_LOSS_squared
        FR_LOSS_absolute
        FR_LOSS_huber
        FR_LOSS_quantile
        FR_LOSS_poisson
        FR_LOSS_focal
    ctypedef void (*fr_softmax)(
        void *y, const void *z, Py_ssize_t rows, Py_ssize_t cols) noexcept
    enum:
        FR_FUNCTION_exp
        FR_FUNCTION_log
        FR_FUNCTION_log1p
        FR_FUNCTION_tanh
        FR_FUNCTION_erf
        FR_FUNCTION_sigmoid
        FR_FUNCTION_gelu
        FR_FUNCTION_normal_gelu
        FR_SLOPE_tanh
        FR_SLOPE_sigmoid
        FR_SLOPE_gelu
        FR_SLOPE_normal_gelu
    ctypedef void (*fr_function)(void *y, const void *x, Py_ssize_t n, int stream) noexcept
    ctypedef void (*fr_slope)(
        void *dx, const void *dy, const void *x, Py_ssize_t n, int stream) noexcept
    enum:
        FR_SUM_abs
        FR_SUM_squares
        FR_SUM_scaled_squares
        FR_SUM_near_zero
        FR_SUM_zeros
        FR_SUM_nonfinite
        FR_MAP_zero
        FR_MAP_l1
        FR_MAP_l2
        FR_MAP_elastic
        FR_MAP_soft
        FR_MAP_prox
    ctypedef double (*fr_sum)(const void *x, Py_ssize_t n, double number) noexcept
    ctypedef void (*fr_map)(
        void *y, const void *x, Py_ssize_t n, double a, double b, int stream) noexcept
    ctypedef void (*fr_column_squares)(double *squares, const void *x, fr_panel) noexcept
    ctypedef void (*fr_scale_columns)(
        void *y, const void *x, fr_panel, const double *factors) noexcept
    void fr_add_rows(double *sums, Py_ssize_t rows, Py_ssize_t cols) noexcept
    void fr_merge(double *sums, Py_ssize_t rows, Py_ssize_t cols) noexcept
    ctypedef struct fr_rows:
        Py_ssize_t rows, first, groups, channels, run
        const void *gamma
        const void *beta
        double epsilon
        int centred, stream
    ctypedef void (*fr_row_forward)(
        void *y, double *statistics, const void *x, const fr_rows *) noexcept
    ctypedef void (*fr_row_backward)(
        void *dx, double *dgamma, double *dbeta, const void *dy, const void *x,
        const double *statistics, const fr_rows *) noexcept

    ctypedef struct fr_kernels:
        fr_update update[1]
        fr_measure measure[1]
        fr_narrow narrow[1]
        fr_measure_narrow measure_narrow[1]
        fr_coded_update coded_update[1]
        fr_measure_narrow measure_coded[1]
        fr_encode_slot encode_slot[1]
        fr_decode_slot decode_slot[1]
        fr_half_update half_update[1]
        fr_half_measure half_measure[1]
        fr_half_sum half_sum[1]
        fr_half_nearest half_nearest[1]
        fr_sum sum[1]
        fr_map map[1]
        fr_function function[1]
        fr_slope slope[1]
        fr_point_loss loss[1]
        fr_dropout dropout
        fr_moments moments
        fr_statistics statistics
        fr_normalize normalize
        fr_norm_sums norm_sums
        fr_norm_backward norm_backward
        fr_bias_gate bias_gate
        fr_norm_gate norm_gate
        fr_gate_sums gate_sums
        fr_gate_slopes gate_slopes
        fr_norm_gate_sums norm_gate_sums
        fr_norm_gate_columns norm_gate_columns
        fr_norm_gate_slopes norm_gate_slopes
        fr_fold_sums fold_sums
        fr_cross_entropy cross_entropy
        fr_point_loss soft_cross_entropy
        fr_softmax softmax
        fr_column_squares column_squares
        fr_scale_columns scale_columns
        fr_dropout alpha_dropout
        fr_dropout gaussian_dropout
        fr_scale_runs scale_runs
        fr_moments run_moments
        fr_normalize run_normalize
        fr_norm_sums run_sums
        fr_norm_backward run_backward
        fr_row_forward layer_forward
        fr_row_forward group_forward
        fr_row_backward layer_backward
        fr_row_backward group_backward
        fr_plan_product plan_product
        fr_product_task pack_product
        fr_product_task product
        fr_product_task product_columns
        fr_philox philox_block
        fr_normals normal_of_words
    ctypedef struct fr_table:
        const char *name
        const fr_kernels *kernels[2]
    const fr_table fr_tables[]
    const int fr_table_count
    int fr_cpu_runs(int level) noexcept
    int fr_level_fuses(int level) noexcept
