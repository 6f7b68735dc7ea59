using Bert4Rec.Configuration;

namespace Bert4Rec.Data;

/// <summary>
/// Splits each user's samples, in time order, into training, validation and test. The k-th event of a user (k ≥ 1, from 0) is the target
/// of one sample, whose history is what came before: a user with n events has n − 1 samples.
/// </summary>
/// <remarks>
/// Of a dataset that has grown, an event that was for training stays so. Shares are rounded, and so of 19 samples 17 train by 8:1:1, and of
/// 20 only 16: the 17th would then validate a model that was trained on it.
/// </remarks>
internal static class Splitter
{
    public static DatasetSplit Split(InteractionDataset dataset, EvalArgs args)
    {
        var train = new List<SampleRun>();
        var valid = new List<Sample>();
        var test = new List<Sample>();
        for (int user = 1; user < dataset.UserCount; user++)
        {
            int next = dataset.UserOffsets[user] + 1;
            int samples = dataset.UserOffsets[user + 1] - next;
            if (samples < 1)
                continue;
            var (trainCount, validCount, testCount) = Counts(args.Split, samples);
            if (dataset.HasGrown)
            {
                int trained = MostTrained(args.Split, samples);
                (trainCount, validCount) = (trained, validCount - (trained - trainCount));
            }
            if (trainCount > 0)
                train.Add(new(user, next, trainCount));
            next += trainCount;
            Take(valid, validCount);
            Take(test, testCount);

            void Take(List<Sample> part, int count)
            {
                for (int i = 0; i < count; i++)
                    part.Add(new Sample(user, next++));
            }
        }
        return new DatasetSplit(new(train), [.. valid], [.. test]);
    }

    /// <summary>How many of a user's samples are for training, or were when there were fewer. It cannot reach those that test: of one
    /// sample more, at most one more tests.</summary>
    private static int MostTrained(SplitRule rule, int samples)
    {
        int most = 0;
        for (int fewer = samples; fewer > most; fewer--)
            most = Math.Max(most, Counts(rule, fewer).Train);
        return most;
    }

    /// <summary>How many of a user's samples go where; RecBole's leave_one_out and split_by_ratio.</summary>
    private static (int Train, int Valid, int Test) Counts(SplitRule rule, int samples)
    {
        if (rule is LeaveOneOut leave)
        {
            int test = leave.Test && samples > 1 ? 1 : 0;
            int valid = leave.Valid && samples - test > 1 ? 1 : 0;
            return (samples - valid - test, valid, test);
        }
        var ratio = (RatioSplit)rule;
        int validCount = (int)(ratio.Valid * samples);
        int testCount = (int)(ratio.Test * samples);
        int trainCount = samples - validCount - testCount;
        // A share of less than one sample becomes one, test first, as long as training keeps one.
        if (trainCount > 1 && RoundsUp(ratio.Test))
            (trainCount, testCount) = (trainCount - 1, testCount + 1);
        if (trainCount > 1 && RoundsUp(ratio.Valid))
            (trainCount, validCount) = (trainCount - 1, validCount + 1);
        return (trainCount, validCount, testCount);

        bool RoundsUp(double share) => share * samples is > 0 and < 1;
    }
}
