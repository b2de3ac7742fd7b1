/* The kernels' element type is double. */
#define real double
#define FR_TYPE f64
#define SQRT sqrt
#define EXP exp_f64
