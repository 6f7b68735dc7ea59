using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Checking;

/// <summary>Where a case comes from; its operands are drawn only when it is its turn.</summary>
/// <param name="Kernel">The kernel's name on the command line.</param>
/// <param name="IsLarge">
/// Larger than the kernels' tiles: too many operands to take central differences by each of them, so that the derivation alone is
/// compared with.
/// </param>
/// <param name="Draw">The case with operands of these random numbers.</param>
internal sealed record CaseSource(string Kernel, bool IsLarge, Func<Random, KernelCase> Draw);

/// <summary>A kernel at one shape.</summary>
/// <param name="Shape">For people.</param>
/// <param name="Operands">Numbers that float32 holds exactly.</param>
/// <param name="Weights">w, of the result's shape: the gradient that the backward starts from.</param>
/// <param name="Formula">The result in double precision, of the operands.</param>
/// <param name="Derivation">
/// The gradients of Σ result ∘ w in double precision, of the operands and w: one for each operand, and then those that the kernels give
/// in a second way; none for a kernel without backward.
/// </param>
/// <param name="Run">Forward and backward on a device, given the operands and w.</param>
internal sealed record KernelCase(
    string Shape,
    Matrix<double>[] Operands,
    Matrix<double> Weights,
    Func<Matrix<double>[], Matrix<double>> Formula,
    Func<Matrix<double>[], Matrix<double>, Matrix<double>[]> Derivation,
    Func<CheckMemory, Tensor[], CaseOutcome> Run);

/// <summary>What a case left on the device.</summary>
/// <param name="Result">What the formula gives.</param>
/// <param name="Gradients">In the order of the derivation's.</param>
/// <param name="OtherErrors">Of what else was written: relative errors, of whole numbers 0 or 1.</param>
internal sealed record CaseOutcome(Tensor Result, Tensor[] Gradients, params double[] OtherErrors);
