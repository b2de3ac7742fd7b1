/* The kernels' element type is float. */
#define real float
#define FR_TYPE f32
#define SQRT sqrtf
#define EXP exp_f32
