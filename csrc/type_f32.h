/* The kernels' element type is float. */
#define real float
#define FR_TYPE f32
#define whole uint32_t   /* its bits, */
#define WHOLE_OF bits_of /* and how to read them (exp.h) */
#define WHOLE UINT32_MAX
#define FR_BYTES 4
#define SQRT sqrtf
#define FABS fabsf
#define FN(name) name##_f32 /* the elementary functions over it */
/* Sizes whose squares are near the ends of the range, and the units that take them to its middle.
 */
#define LARGE 0x1p60f
#define SMALL 0x1p-40f
#define LARGE_UNIT 0x1p-80f
#define SMALL_UNIT 0x1p100f
#define SMALLEST FLT_MIN
#define LARGEST FLT_MAX
/* Units of e^x in which it is normal down to where it is 0. */
#define EXP_POWER 64
#define ONE 0x1p64f
#define EXP_LEAST -110.0f
