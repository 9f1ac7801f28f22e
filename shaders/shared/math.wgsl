// Pointwise functions with an accuracy that does not depend on the adapter's builtins, and without infinities as intermediate results.

// exp with its argument clamped to where the result is a normal number.
fn exp_safe(x: f32) -> f32 {
  return exp(clamp(x, -87.0, 88.0));
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp_safe(-x));
}

// The error function within 2e-7: a polynomial near zero, 1 - exp(polynomial) elsewhere; constant from 4 on, where 1 - erf < 2e-8.
fn erf(x: f32) -> f32 {
  let s = x * x;
  let t = min(abs(x), 4.0);
  var near = fma(-5.96761703e-4, s, 4.99119423e-3);
  near = fma(near, s, -2.67681349e-2);
  near = fma(near, s, 1.12819925e-1);
  near = fma(near, s, -3.76125336e-1);
  near = fma(near, s, 1.28379166e-1);
  near = fma(near, x, x);
  let t2 = t * t;
  var far = fma(-1.72853470e-5, t, 3.83197126e-4);
  far = fma(far, t2, fma(-3.88396438e-3, t, 2.42546219e-2));
  far = fma(far, t, -1.06777877e-1);
  far = fma(far, t, -6.34846687e-1);
  far = fma(far, t, -1.28717512e-1);
  far = fma(far, t, -t);
  let tail = 1.0 - exp(far);
  return select(near, select(tail, -tail, x < 0.0), t > 0.927734375);
}

fn gelu(x: f32) -> f32 {
  return 0.5 * x * (1.0 + erf(x * 0.70710678));
}

fn silu(x: f32) -> f32 {
  return x * sigmoid(x);
}

fn quick_gelu(x: f32) -> f32 {
  return x * sigmoid(1.702 * x);
}

// tanh: a polynomial near zero, where 1 - 2/(exp(2x) + 1) would cancel.
fn tanh_safe(x: f32) -> f32 {
  let s = x * x;
  var near = fma(-5.70498872745e-3, s, 2.06390887954e-2);
  near = fma(near, s, -5.37397155531e-2);
  near = fma(near, s, 1.33314422036e-1);
  near = fma(near, s, -3.33332819422e-1);
  near = fma(near * s, x, x);
  let tail = 1.0 - 2.0 / (exp_safe(2.0 * abs(x)) + 1.0);
  return select(near, select(tail, -tail, x < 0.0), abs(x) > 0.625);
}

// sin(x + quarters · π/2), by a three-step reduction of x modulo π/2 to |r| <= π/4. The error is a few 1e-7 for |x| < 10,000.
fn sin_shifted(x: f32, quarters: u32) -> f32 {
  let n = floor(fma(x, 0.63661977, 0.5));
  var r = fma(n, -1.5703125, x);
  r = fma(n, -4.83751297e-4, r);
  r = fma(n, -7.54978995e-8, r);
  let s = r * r;
  var sine = fma(2.86567956e-6, s, -1.98559923e-4);
  sine = fma(sine, s, 8.33338592e-3);
  sine = fma(sine, s, -1.66666672e-1);
  sine = fma(sine * s, r, r);
  var cosine = fma(2.44677067e-5, s, -1.38877297e-3);
  cosine = fma(cosine, s, 4.16666567e-2);
  cosine = fma(cosine, s, -0.5);
  cosine = fma(cosine, s, 1.0);
  let quadrant = (bitcast<u32>(i32(clamp(n, -1.0e9, 1.0e9))) + quarters) % 4u;
  let value = select(sine, cosine, quadrant % 2u == 1u);
  return select(value, -value, quadrant >= 2u);
}

// a to the power b. For a negative a, the sign follows the parity of an integer b.
fn power(a: f32, b: f32) -> f32 {
  let half_b = floor(b) * 0.5;
  let odd = floor(half_b) != half_b;
  let size = exp2(clamp(b * log2(max(abs(a), 1.0e-37)), -126.0, 127.99));
  let value = select(size, -size, a < 0.0 && odd);
  let of_zero = select(value, 0.0, b > 0.0);
  return select(select(value, of_zero, a == 0.0), 1.0, b == 0.0);
}
