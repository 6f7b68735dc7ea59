namespace Bert4Rec.Kernels.Gpu;

/// <summary>A sum, and beside it what its additions rounded away (Knuth's two-sum).</summary>
internal readonly struct CompensatedSum(float sum, float error)
{
    private readonly float _sum = sum;
    private readonly float _error = error;

    /// <summary>Where the sum is infinite, its error is not a number and does not count.</summary>
    public float Total => _error - _error == 0 ? _sum + _error : _sum;

    public CompensatedSum Plus(float x)
    {
        float next = _sum + x, taken = next - _sum;
        return new(next, _error + (_sum - (next - taken)) + (x - taken));
    }
}
