using Bert4Rec.Training;

namespace Bert4Rec.Tests.Training;

public sealed class EarlyStoppingTests
{
    [Theory]
    [InlineData(0, new[] { 0.5, 0.4, 0.5, 0.4, 0.4, 0.4 }, 6, 3)]
    [InlineData(0, new[] { 0.5, 0.4, 0.4, 0.4, 0.6 }, 4, 1)]
    // Better, but not by a tenth of the last that paid: the best all the same.
    [InlineData(0.1, new[] { 0.5, 0.52, 0.54, 0.545, 0.9 }, 4, 4)]
    [InlineData(0.1, new double[] { 0, 0, 0, 0, 0, 0 }, 4, 4)]
    [InlineData(0.1, new[] { 0.5, 0.52, 0.54, 0.56, 0.57, 0.58, 0.59 }, 7, 7)]
    public void ItStopsAfterMoreThanTwoValidationsThatDoNotPay(double margin, double[] values, int end, int best)
    {
        foreach (bool bigger in new[] { true, false })
        {
            var stopping = new EarlyStopping();
            int epoch = 0;
            while (epoch < values.Length && !stopping.ShouldStop(2))
            {
                double value = bigger ? values[epoch] : -values[epoch];
                epoch++;
                stopping.Observe(epoch, value, new Dictionary<string, double> { ["x"] = value }, bigger, margin);
            }
            Assert.Equal((end, best), (epoch, stopping.BestEpoch));
        }
    }
}
